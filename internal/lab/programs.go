package lab

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
)

// programs returns the first directory of the machine's PATH. Its content
// follows the faults immediately, so that they also apply to a running script
// and to a stored one with an older PATH. (A shell remembers where it found a
// program, for as long as it runs.)
func (m *Machine) programs() string { return filepath.Join(m.dir, "programs") }

// missingTool returns the program that the machine lacks, or "".
func (m *Machine) missingTool() string {
	if m.faults.has(faultNoOpenSSL) {
		return "openssl"
	}
	missing, _ := m.faults.get(faultMissingTool)
	return missing
}

// wantedPrograms returns the stand-ins that the faults need: program to file.
func (m *Machine) wantedPrograms() map[string]string {
	wanted := map[string]string{}
	add := func(fault string, yes bool, programs ...string) {
		for _, program := range programs {
			if yes {
				wanted[program] = filepath.Join(m.fleet.tools.dir, fault, program)
			}
		}
	}
	add(faultSudoPassword, m.faults.has(faultSudoPassword), "sudo")
	how, tells := m.faults.get(faultSudoTells)
	add(faultSudoTells, tells && how == "", "sudo")
	add(faultSudoTells+"-fails", tells && how != "", "sudo")
	add(faultSudoRevokedOn, m.faults.sudoRevoked(), "sudo")
	add(faultDiskFull, m.faults.has(faultDiskFull), "df")
	add(faultClockJump, m.faults.has(faultClockJump), "date")
	add(faultImmutable, m.faults.has(faultImmutable), "mv", "cp", "ln", "rm")
	delete(wanted, m.missingTool())
	return wanted
}

// linkPrograms updates the directory for the faults; m.applying must be held. The
// stand-ins are linked, not written: a file that is open for writing while another
// thread forks can't be executed (execve(2), ETXTBSY).
func (m *Machine) linkPrograms() error {
	wanted := m.wantedPrograms()
	jump := strconv.FormatInt(m.faults.duration(faultClockJump).Nanoseconds(), 10)
	if len(wanted) == 0 && len(m.linked) == 0 {
		return nil
	}
	errs := []error{os.MkdirAll(m.programs(), 0o755), replaceFile(filepath.Join(m.dir, "clock-jump"), jump+"\n")}
	for program := range m.linked {
		if wanted[program] == "" {
			errs = append(errs, os.Remove(filepath.Join(m.programs(), program)))
		}
	}
	for program, file := range wanted {
		if m.linked[program] != file {
			errs = append(errs, replaceLink(filepath.Join(m.programs(), program), file))
		}
	}
	m.linked = maps.Clone(wanted)
	return errors.Join(errs...)
}

// replaceFile and replaceLink replace a file or a link by one rename.
func replaceFile(path, text string) error {
	return errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path))
}

func replaceLink(path, target string) error {
	return errors.Join(os.Symlink(target, path+".new"), os.Rename(path+".new", path))
}
