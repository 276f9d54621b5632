package lab

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
)

// programs is a directory that is first in the machine's PATH. What is in it
// follows the faults at once, so that they also meet a script that runs already
// and a stored one, whose PATH is that of another day. (A shell remembers where
// it found a program, for as long as it lives.)
func (m *Machine) programs() string { return filepath.Join(m.dir, "programs") }

// missingTool is the program that the machine has not, or empty.
func (m *Machine) missingTool() string {
	if m.faults.has(faultNoOpenSSL) {
		return "openssl"
	}
	missing, _ := m.faults.get(faultMissingTool)
	return missing
}

// wantedPrograms are the stand-ins that the faults call for: program, its file.
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

// layPrograms brings the directory into line with the faults; m.applying must
// be held. The stand-ins are linked, not written: a file that is open for
// writing while another thread forks can't be executed (execve(2), ETXTBSY).
func (m *Machine) layPrograms() error {
	wanted := m.wantedPrograms()
	jump := strconv.FormatInt(m.faults.duration(faultClockJump).Nanoseconds(), 10)
	if len(wanted) == 0 && len(m.laid) == 0 {
		return nil
	}
	errs := []error{os.MkdirAll(m.programs(), 0o755), replaceFile(filepath.Join(m.dir, "clock-jump"), jump+"\n")}
	for program := range m.laid {
		if wanted[program] == "" {
			errs = append(errs, os.Remove(filepath.Join(m.programs(), program)))
		}
	}
	for program, file := range wanted {
		if m.laid[program] != file {
			errs = append(errs, replaceLink(filepath.Join(m.programs(), program), file))
		}
	}
	m.laid = maps.Clone(wanted)
	return errors.Join(errs...)
}

// replaceFile and replaceLink leave no moment without the one or the other.
func replaceFile(path, text string) error {
	return errors.Join(os.WriteFile(path+".new", []byte(text), 0o644), os.Rename(path+".new", path))
}

func replaceLink(path, target string) error {
	return errors.Join(os.Symlink(target, path+".new"), os.Rename(path+".new", path))
}
