package lab

import (
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
	{"package-install-fails", "[VERSION]", "the installation fails while it replaces files", needsVersion("")},
	{"package-slow", "DURATION [VERSION]", "the replacement of the files takes this much longer", needsVersion("a duration such as 3s")},
	{"package-scriptlet-fails", "[VERSION]", "the package's own script fails after the files are replaced", needsVersion("")},
	{"package-scriptlet-hangs", "DURATION [VERSION]", "that script takes this much longer", needsVersion("a duration such as 3s")},
	{"package-no-restart", "[VERSION]", "that script does not restart the agent", needsVersion("")},
	{"package-changes-configuration", "[VERSION]", "that script changes the agent's configuration", needsVersion("")},
	{"package-needs", "NAME [VERSION]", "the package needs another package", needsVersion("a name")},
	{"package-unsigned", "[VERSION]", "the package has no signature", needsVersion("")},
	{"package-missing", "[VERSION]", "the package is not in the repository", needsVersion("")},
	{"package-locked", "DURATION", "another process holds the lock of the package database, for this long from now on", needsDuration},
	{"package-refresh-fails", "", "the repository can't be reached", needsNothing},
}

// needsVersion checks an optional version; before it stands what has a name, if any.
func needsVersion(first string) faultKind {
	return func(argument string) error {
		words := strings.Fields(argument)
		if first != "" {
			if len(words) == 0 || strings.Contains(first, "duration") && needsDuration(words[0]) != nil {
				return fmt.Errorf("needs %s", first)
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
		version, state = PackageVersions[0], "none" // copied there by hand
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

// Version returns the version of the agent's program; "": it is missing, as within an installation.
func (m *Machine) Version() string {
	data, _ := os.ReadFile(m.inRoot(agentProgram))
	return strings.TrimSpace(string(data))
}
