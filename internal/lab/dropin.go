package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// dropIns are the drop-ins of a unit as systemd has loaded them: a change on the disk has no
// effect before the next daemon-reload (systemctl(1)). The lab uses their ConditionPathExists=.
type dropIns struct {
	guard           // its conditions
	fragment string // the unit's own file; "": none
	paths    string // of the drop-ins, separated by spaces
	stamp    string // changes with the files
}

// dropIns reads the drop-ins of a unit, UNIT.d/*.conf in the order of their names.
func (m *Machine) dropIns(unit string) (d dropIns) {
	text := ""
	if info, err := os.Stat(m.inRoot(unitFile)); err == nil && unit == Unit {
		d.fragment, d.stamp = unitFile, fmt.Sprintln(info.ModTime().UnixNano())
	}
	paths, _ := filepath.Glob(m.inRoot(unitDir + "/" + unit + ".d/*.conf"))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		info, err2 := os.Stat(path)
		if err != nil || err2 != nil {
			continue // removed meanwhile
		}
		text += "\n[]\n" + string(data) // each file begins without a section
		d.paths += " " + path
		d.stamp += fmt.Sprintln(path, info.ModTime().UnixNano(), info.Size())
	}
	var err error
	if d.guard, err = parseGuard(unit, text); err != nil {
		m.fleet.opts.Notice(fmt.Sprintf("machine %s: drop-ins of %s: %v", m.Name, unit, err))
	}
	return d
}

// reload loads the drop-ins of all services, as `systemctl daemon-reload` does.
func (d *systemd) reload() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, s := range d.services {
		s.dropIns = d.readDropIns(name)
	}
}

// fileProperties returns the properties that `systemctl show` has from the unit's files.
func (d *systemd) fileProperties(name string) []string {
	s := d.loaded(name)
	if s == nil {
		return []string{"NeedDaemonReload=no", "ConditionResult=no"}
	}
	now := d.readDropIns(name).stamp
	d.mu.Lock()
	defer d.mu.Unlock()
	return []string{"FragmentPath=" + s.dropIns.fragment, "DropInPaths=" + strings.TrimSpace(s.dropIns.paths), "NeedDaemonReload=" + yesNo(now != s.dropIns.stamp), "ConditionResult=" + yesNo(s.condition)}
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}
