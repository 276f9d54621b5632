package host

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The commands of a transaction that change or decide something, and those that only read
// the log. TestEveryFault counts the calls of the first.
var (
	deciding = strings.Fields("mv cp ln sync sha256sum mkdir rm rmdir systemctl systemd-run stat flock cat chown chmod readlink timeout id dd")
	reading  = strings.Fields("date tail head ls grep sed awk cut sleep tr")
)

// tools is the directory of the stand-ins. TestMain writes them before any test runs,
// because a file that a forked process has open for writing can't be executed (ETXTBSY).
var tools string

// TestMain also lets more tests run at once than there are cores: most of them wait.
func TestMain(m *testing.M) {
	code := 1
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(4*runtime.GOMAXPROCS(0)))
	}
	dir, err := os.MkdirTemp("", "host-tools")
	if err == nil {
		err = installTools(dir)
	}
	if err == nil {
		tools = dir
		code = m.Run()
	} else {
		fmt.Println(err)
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func installTools(dir string) error {
	errs := []error{
		os.Chmod(dir, 0o755),
		copyTool("systemctl", dir+"/bin/systemctl"), copyTool("systemd-run", dir+"/bin/systemd-run"), copyTool("sync", dir+"/bin/sync"), copyTool("dpkg", dir+"/pkg/dpkg"), os.Symlink("dpkg", dir+"/pkg/dpkg-query"), copyTool("fault", dir+"/fault"), copyTool("stat", dir+"/owners/stat"), copyTool("gather-diags", dir+"/gather-diags"),
		os.MkdirAll(dir+"/counted", 0o755), os.MkdirAll(dir+"/few", 0o755),
	}
	for _, name := range append(append([]string{"base64", "env", "find", "setsid"}, deciding...), reading...) { // no openssl
		path := dir + "/bin/" + name
		if _, err := os.Stat(path); err != nil {
			path, err = exec.LookPath(name)
			errs = append(errs, err)
		}
		errs = append(errs, os.Symlink(path, dir+"/few/"+name))
	}
	for _, name := range append([]string{"dpkg"}, deciding...) {
		errs = append(errs, os.Symlink(dir+"/fault", dir+"/counted/"+name))
	}
	for _, name := range append(append([]string{"dpkg"}, deciding...), reading...) {
		errs = append(errs, os.MkdirAll(dir+"/one/"+name, 0o755), os.Symlink(dir+"/fault", dir+"/one/"+name+"/"+name))
	}
	return errors.Join(errs...)
}

func copyTool(name, to string) error {
	data, err := os.ReadFile("testdata/" + name)
	return errors.Join(err, os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, 0o755))
}

// inShell has stand-ins as functions in the script's shell: to start a process takes
// longer than what they do.
var inShell = map[string]string{
	"sync":      `while [ $# -gt 1 ]; do shift; [ -e "$1" ] || return 1; done`,
	"systemctl": `( . "$TOOLS/bin/systemctl" )`,
}

// withStandIns is onMachine with the stand-ins in the script's shell, unless the test
// breaks them, or changes the script or PATH. The timer and the guard, which have
// shells of their own, start the programs.
func (m *machine) withStandIns(text string) string {
	text = m.onMachine(text)
	if m.text != sent || m.only != "" || m.helper {
		return text
	}
	functions := ""
	for name, body := range inShell {
		if m.faults == "" || !m.breaks(name) {
			functions += name + "() { " + body + "; }\n"
		}
	}
	root := "ROOT=" + m.root + "\n"
	return strings.Replace(text, root, root+functions, 1)
}

// breaks reports whether the test's own directories on PATH have a program of that name.
func (m *machine) breaks(name string) bool {
	return slices.ContainsFunc(filepath.SplitList(m.faults), func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		return err == nil
	})
}
