package lab

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

//go:embed standin
var standins embed.FS

const systemPath = "/usr/sbin:/usr/bin:/sbin:/bin"

var plainTool = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// toolbox is the set of programs on the PATH of a fleet's machines.
type toolbox struct {
	dir     string
	mu      sync.Mutex
	without map[string]string // directories without one tool, created on demand
}

// installTools writes the stand-ins: those for all machines to tools/bin, those
// of a fault to a directory with its name.
func installTools(dir string) (*toolbox, error) {
	t := &toolbox{dir: filepath.Join(dir, "tools"), without: map[string]string{}}
	files := map[string]string{ // path: stand-in
		"bin/systemctl":         "call",
		"bin/systemd-run":       "call",
		"bin/lab-reboot":        "call", // for standin/package
		"bin/sudo":              "sudo",
		"bin/setpriv":           "setpriv",
		"bin/sync":              "sync",
		"bin/getent":            "getent",
		"bin/logrotate":         "idle",
		"bin/zip":               "idle",
		"bin/nft":               "idle", // no rule
		"bin/firewall-cmd":      "idle", // not running
		"sudo-password/sudo":    "sudo-password",
		"sudo-tells/sudo":       "sudo-tells",
		"sudo-tells-fails/sudo": "sudo-tells",
		"sudo-revoked-on/sudo":  "sudo-revoked",
		"disk-full/df":          "df",
		"clock-jump/date":       "date",
		"immutable/mv":          "immutable",
		"immutable/cp":          "immutable",
		"immutable/ln":          "immutable",
		"immutable/rm":          "immutable",
		gatherDiags:             "gather-diags",
	}
	for _, program := range packagePrograms {
		files["bin/"+program] = "package"
	}
	for path, name := range files {
		text, err := standins.ReadFile("standin/" + name)
		if err != nil {
			return nil, err
		}
		if err := t.install(path, text); err != nil {
			return nil, err
		}
	}
	for path, text := range repository() {
		if err := t.install(path, []byte(text)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *toolbox) install(path string, data []byte) error {
	path = filepath.Join(t.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o755)
}

// path returns a PATH with one directory in front; missing is a tool that must not
// be found, or empty.
func (t *toolbox) path(first, missing string) (string, error) {
	if missing != "" {
		dir, err := t.toolsWithout(missing)
		return first + ":" + dir, err
	}
	return strings.Join([]string{first, filepath.Join(t.dir, "bin"), systemPath}, ":"), nil
}

// toolsWithout returns a directory with links to every tool of PATH except one: only
// then does `command -v` not find it.
func (t *toolbox) toolsWithout(tool string) (string, error) {
	if !plainTool.MatchString(tool) {
		return "", fmt.Errorf("a tool can't be called %q", tool)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if dir, ok := t.without[tool]; ok {
		return dir, nil
	}
	dir := filepath.Join(t.dir, "without-"+tool)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, from := range append([]string{filepath.Join(t.dir, "bin")}, filepath.SplitList(systemPath)...) {
		entries, err := os.ReadDir(from)
		if err != nil {
			continue // not every system has every directory
		}
		for _, entry := range entries {
			if entry.Name() == tool {
				continue
			}
			// An existing link is from an earlier directory of PATH.
			err := os.Symlink(filepath.Join(from, entry.Name()), filepath.Join(dir, entry.Name()))
			if err != nil && !os.IsExist(err) {
				return "", err
			}
		}
	}
	t.without[tool] = dir
	return dir, nil
}
