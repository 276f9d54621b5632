package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Drop-ins count after a daemon-reload or a boot, and a start whose condition fails is skipped.
func TestDropIn(t *testing.T) {
	_, m := startOne(t, Options{})
	show := "systemctl show -p ActiveState,Result,UnitFileState,NeedDaemonReload,ConditionResult --value " + Unit + " | tr '\\n' ' '; echo"
	conf := "D=$ROOT/etc/systemd/system/" + Unit + ".d; mkdir -p $ROOT/run/aoifleet $D; >$ROOT/run/aoifleet/hold; printf '[Unit]\\nConditionPathExists=%s\\n' $ROOT/run/aoifleet/hold >$D/a.conf; "
	restart := "systemctl restart " + Unit + "; echo $?; "
	tests := []struct{ name, command, want string }{ // one after the other
		{"before", show, "success active enabled no yes "},
		{"not loaded", conf + "rm $ROOT/run/aoifleet/hold; " + restart + show, "0\nsuccess active enabled yes yes "},
		{"loaded", "systemctl daemon-reload; " + show, "success active enabled no yes "},
		{"an active unit is started", "systemctl start " + Unit + "; " + show, "success active enabled no yes "},
		{"the condition fails", restart + show, "0\nsuccess inactive enabled no no "},
		{"start is skipped too", "systemctl start " + Unit + "; echo $?; " + show, "0\nsuccess inactive enabled no no "},
		{"the condition holds", ">$ROOT/run/aoifleet/hold; " + restart + show, "0\nsuccess active enabled no yes "},
		{"removed, not loaded", "rm -r $ROOT/etc/systemd/system/" + Unit + ".d $ROOT/run/aoifleet; " + restart + show, "0\nsuccess inactive enabled yes no "},
		{"removed", "systemctl daemon-reload; " + restart + show, "0\nsuccess active enabled no yes "},
		{"enable and disable reload", conf + "systemctl disable " + Unit + "; " + show, "success active disabled no yes "},
		{"last", "systemctl enable " + Unit + "; " + show, "success active enabled no yes "},
	}
	for _, tt := range tests {
		if r := onHost(t, m, tt.command); r.stdout != tt.want+"\n" {
			t.Errorf("%s: %+v, want %q", tt.name, r, tt.want)
		}
	}
	mustReboot(t, m) // empties /run
	if s := m.AgentState(); s.Active != "inactive" || s.InvocationID != "" || m.read("/run/aoifleet/hold") != "" {
		t.Errorf("after a boot: %+v", s)
	}
	if _, err := os.Stat(m.inRoot("/run/aoifleet")); err == nil {
		t.Error("/run is not empty")
	}
}

// A guard runs before the agent, but after systemd has read the drop-ins.
func TestDropInRemovedByGuard(t *testing.T) {
	_, m := startOne(t, Options{})
	folder := m.inRoot(unitDir + "/" + Unit + ".d")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "a.conf"), []byte("[Unit]\nConditionPathExists=/nowhere\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.writeGuard(t, "x", "[Unit]\nBefore="+Unit+"\n[Service]\nExecStart=/bin/rm -r "+folder+"\n")
	mustReboot(t, m)
	if s := m.AgentState(); s.Active != "inactive" {
		t.Errorf("%+v", s)
	}
	mustReboot(t, m)
	if s := m.AgentState(); s.Active != "active" {
		t.Errorf("%+v", s)
	}
}

// An automatic restart is skipped too.
func TestConditionsOfDropIns(t *testing.T) {
	inBubble(t, func(m *manager) {
		m.do("start", Unit)
		text := ""
		m.readDropIns = func(string) (d dropIns) {
			d.guard, _ = parseGuard("", strings.TrimSpace(text))
			return d
		}
		for _, tt := range []struct{ text, want string }{
			{"[Unit]\nConditionPathExists=/nowhere", "inactive dead success 0"},
			{"[Unit]\nConditionPathExists=/nowhere\nConditionPathExists=", "active running success 0"},
			{"[Unit]\nConditionPathExists=!/nowhere", "active running success 0"},
			{"[Unit]\nConditionPathExists=|/nowhere\nConditionPathExists=|/", "active running success 0"},
			{"[Service]\nConditionPathExists=/nowhere", "active running success 0"},
		} {
			text = tt.text
			m.do("daemon-reload")
			m.do("restart", Unit)
			m.is(tt.want)
			m.do("reset-failed", Unit)
		}
		text = "[Unit]\nConditionPathExists=/nowhere"
		m.do("daemon-reload")
		m.crash <- errors.New("boom")
		time.Sleep(time.Second)
		m.is("inactive dead exit-code 0")
	})
}
