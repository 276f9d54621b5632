package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PackageVersions are the versions of the agent's package in the machines' repository, the oldest
// first; a machine has the first one, if Options.Package does not say otherwise.
var PackageVersions = []string{"1.9.3-1", "2.0.0-1", "2.1.0-1"}

// The agent's program, which contains the installed version, and its unit.
const (
	agentProgram = "/usr/bin/microsoft/az-aoi-ingestion"
	unitFile     = "/usr/lib/systemd/system/" + Unit
)

// packagePrograms is the programs that standin/package stands in for.
var packagePrograms = []string{"dpkg", "dpkg-query", "dpkg-deb", "apt-get", "apt-cache", "apt-mark", "rpm", "rpmkeys", "dnf", "yum"}

// packageFaults is the faults of the package and of its manager. With a version as the last word of the
// argument a fault is limited to the package of that version.
var packageFaults = []kindOfFault{
	{"package-install-fails", "[VERSION]", "the installation fails while it replaces files", needsVersion(nil)},
	{"package-slow", "DURATION [VERSION]", "the replacement of the files takes this much longer", needsVersion(needsDuration)},
	{"package-scriptlet-fails", "[VERSION]", "the package's own script fails after the files are replaced", needsVersion(nil)},
	{"package-scriptlet-hangs", "DURATION [VERSION]", "that script takes this much longer", needsVersion(needsDuration)},
	{"package-no-restart", "[VERSION]", "that script does not restart the agent", needsVersion(nil)},
	{"package-changes-configuration", "[VERSION]", "that script changes the agent's configuration", needsVersion(nil)},
	{"package-needs", "NAME [VERSION]", "the package needs another package", needsVersion(needsTool)},
	{"package-unsigned", "[VERSION]", "the package has no signature", needsVersion(nil)},
	{"package-missing", "[VERSION]", "the package is not in the repository", needsVersion(nil)},
	{"package-locked", "DURATION", "another process holds the lock of the package database, for this long from now on", needsDuration},
	{faultPackageReboots, "STEP [VERSION]", "the machine reboots in the STEP unpack or script of an installation, once", needsVersion(needsStep)},
	{"package-refresh-fails", "", "the repository can't be reached", needsNothing},
}

const faultPackageReboots = "package-reboots"

func needsStep(argument string) error {
	if argument != "unpack" && argument != "script" {
		return fmt.Errorf("needs the step unpack or script")
	}
	return nil
}

// needsVersion checks an optional version, after a word for which there is a check, if any.
func needsVersion(first faultKind) faultKind {
	return func(argument string) error {
		words := strings.Fields(argument)
		if first != nil {
			word, _, _ := strings.Cut(argument, " ")
			if err := first(word); err != nil {
				return err
			}
			words = words[1:]
		}
		if len(words) > 1 || len(words) == 1 && !slices.Contains(PackageVersions, words[0]) {
			return fmt.Errorf("takes one of the versions %s", strings.Join(PackageVersions, ", "))
		}
		return nil
	}
}

// repository returns the packages: file below tools to text.
func repository() map[string]string {
	files := map[string]string{}
	for i, version := range PackageVersions {
		files["repository/"+version] = fmt.Sprintf(
			"Package: az-aoi-ingestion\nVersion: %s\nArchitecture: amd64\nInstalled-Size: %d\nSigned: yes\n", version, 40+i)
	}
	return files
}

// installPackage installs the package on a new machine.
func (m *Machine) installPackage() error {
	manager, version := m.fleet.opts.Package(m.Name)
	database := map[string]string{"apt": "/var/lib/dpkg/", "dnf": "/var/lib/rpm/", "yum": "/var/lib/rpm/"}[manager]
	if database == "" {
		return fmt.Errorf("a machine's package manager is apt, dnf or yum, not %q", manager)
	}
	state := "installed"
	if version == "" {
		version, state = PackageVersions[0], "none" // an operator has copied it there
	}
	files := map[string]string{
		agentProgram: version + "\n", unitFile: "# " + version + "\n",
		database + "package": fmt.Sprintf("version=%s before= state=%s want=install\n", version, state),
	}
	errs := []error{os.MkdirAll(m.inRoot(database+"updates"), 0o755), os.WriteFile(filepath.Join(m.dir, "manager"), []byte(manager+"\n"), 0o644)}
	for path, text := range files {
		errs = append(errs, os.MkdirAll(filepath.Dir(m.inRoot(path)), 0o755), os.WriteFile(m.inRoot(path), []byte(text), 0o644))
	}
	return errors.Join(errs...)
}

// writePackageFaults writes the faults for standin/package: WORD:VERSION ARGUMENT, where the
// version may be *, a duration is in seconds, and the end of a lock in seconds since 1970.
func (m *Machine) writePackageFaults() error {
	var b strings.Builder
	for _, f := range m.faults.all() {
		i := slices.IndexFunc(packageFaults, func(k kindOfFault) bool { return k.word == f.word })
		if i < 0 {
			continue
		}
		words, version := strings.Fields(f.argument), "*"
		if n := len(words); n > 0 && slices.Contains(PackageVersions, words[n-1]) {
			version, words = words[n-1], words[:n-1]
		}
		argument := strings.Join(words, "")
		if d, err := time.ParseDuration(argument); err == nil {
			argument = strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
			if f.word == "package-locked" {
				argument = strconv.FormatInt(time.Now().Add(d+time.Second-1).Unix(), 10)
			}
		}
		fmt.Fprintf(&b, "%s:%s %s\n", strings.TrimPrefix(f.word, "package-"), version, argument)
	}
	path := filepath.Join(m.dir, "package-faults")
	if b.Len() == 0 {
		return remove(path)
	}
	return replaceFile(path, b.String())
}

// Installed returns the version of the package in the database, and whether it is completely installed.
func (m *Machine) Installed() (version string, whole bool) {
	data, err := os.ReadFile(m.inRoot("/var/lib/dpkg/package"))
	if err != nil {
		data, _ = os.ReadFile(m.inRoot("/var/lib/rpm/package"))
	}
	fields := strings.FieldsFunc(string(data), func(r rune) bool { return r == '\'' || r == ' ' || r == '=' })
	if len(fields) < 2 {
		return "", false
	}
	return fields[1], slices.Contains(fields, "installed") && fields[1] == m.Version()
}

// packageReboot reboots the machine if it has the fault of that name, in another goroutine: the
// reboot waits for the caller.
func (m *Machine) packageReboot() bool {
	for _, f := range m.faults.all() {
		if f.word == faultPackageReboots && m.faults.claim(f, 1) {
			m.fleet.tasks.Go(func() {
				if err := m.Reboot(context.Background()); err != nil && m.fleet.ctx.Err() == nil {
					m.fleet.opts.Notice(err.Error())
				}
			})
			return true
		}
	}
	return false
}

// Version returns the version of the agent's program; "": it is missing, as within an installation.
func (m *Machine) Version() string {
	data, _ := os.ReadFile(m.inRoot(agentProgram))
	return strings.TrimSpace(string(data))
}
