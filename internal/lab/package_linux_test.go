package lab

import (
	"strings"
	"testing"
)

// The state of the package after each installation, one after the other. In the database of apt an
// interrupted package is not whole; in that of rpm it is, or both versions are there.
func TestPackage(t *testing.T) {
	const upgrade, back = "2.0.0-1", "1.9.3-1"
	const ok, failed = "0 ", "1 "
	tests := []struct{ fault, version, apt, dnf string }{
		{"", upgrade, ok + "2.0.0-1 install ok installed", ok + "2.0.0-1"},
		{"", back, ok + "1.9.3-1 install ok installed", ok + "1.9.3-1"},
		{"package-install-fails " + upgrade, upgrade, failed + "1.9.3-1 install ok installed", failed + "1.9.3-1"},
		{"package-install-fails " + upgrade, back, ok + "1.9.3-1 install ok installed", ok + "1.9.3-1"},
		{"package-scriptlet-fails", upgrade, failed + "2.0.0-1 install ok half-configured", ok + "2.0.0-1"},
		{"", back, ok + "1.9.3-1 install ok installed", ok + "1.9.3-1"},
		{"package-scriptlet-hangs 1h", upgrade, "124 2.0.0-1 install ok half-configured", "124 2.0.0-1"},
		{"", back, ok + "1.9.3-1 install ok installed", ok + "1.9.3-1"},
		{"package-slow 1h", upgrade, "124 1.9.3-1 install reinstreq half-installed", "124 2.0.0-1"},
		{"package-locked 1h", back, "2 1.9.3-1 install reinstreq half-installed", "1 2.0.0-1"},
		{"", back, ok + "1.9.3-1 install ok installed", ok + "1.9.3-1"},
		{"package-needs libfoo", upgrade, failed + "2.0.0-1 install ok unpacked", "2 1.9.3-1"},
		{"package-missing " + back, back, "none", "none"},
		{"package-unsigned", back, "none", "unsigned"},
	}
	for manager, commands := range map[string][3]string{
		"apt": {"apt-get -q -o APT::Sandbox::User=root download az-aoi-ingestion=", "dpkg --force-confold -i", "dpkg-query -W -f '${Version} ${Status}' az-aoi-ingestion"},
		"dnf": {"dnf -y -q --setopt='*.gpgcheck=0' --downloadonly --downloaddir=$ROOT/tmp reinstall az-aoi-ingestion-", "rpm -U --oldpackage --replacepkgs", "rpm -q --qf '%{EVR}' az-aoi-ingestion"},
	} {
		t.Run(manager, func(t *testing.T) {
			t.Parallel()
			_, m := startOne(t, Options{Package: func(string) (string, string) { return manager, back }})
			for i, tt := range tests {
				setFaults(t, m, given(tt.fault)...)
				r := onHost(t, m, "rm -rf $ROOT/tmp/*; cd $ROOT/tmp; systemctl reset-failed "+Unit,
					commands[0]+tt.version+" >/dev/null 2>&1; for file in *"+tt.version+"*; do [ -f \"$file\" ] || { printf none; exit; }; done",
					"rpmkeys --define '_pkgverify_level all' -K \"$file\" | grep -q 'digests signatures OK' || { printf unsigned; exit; }",
					"env -i PATH=\"$PATH\" timeout 2 "+commands[1]+" \"$file\" >said 2>&1; printf '%s ' $?; "+commands[2])
				want := map[string]string{"apt": tt.apt, "dnf": tt.dnf}[manager]
				if r.stdout != want {
					t.Errorf("%d, %s: %+v, want %q; said: %s", i, tt.fault, r, want, m.read("/tmp/said"))
				}
			}
		})
	}
}

// given returns a fault, or none.
func given(fault string) []string {
	if fault == "" {
		return nil
	}
	return []string{fault}
}

// An installation that a power cut interrupts, and the next one.
func TestPackageCut(t *testing.T) {
	for manager, commands := range map[string][3]string{
		"apt": {"dpkg -i", "dpkg-query -W -f '${Version} ${Status}' az-aoi-ingestion; ls $ROOT/var/lib/dpkg/updates", "1.9.3-1 install reinstreq half-installed0000\n2.0.0-1 install ok half-configured0000\n"},
		"dnf": {"rpm -U", "rpm -q --qf '%{EVR}\\n' az-aoi-ingestion", "1.9.3-1\n1.9.3-1\n2.0.0-1\n"},
	} {
		t.Run(manager, func(t *testing.T) {
			t.Parallel()
			_, m := startOne(t, Options{Package: func(string) (string, string) { return manager, "1.9.3-1" }})
			seen := ""
			for _, step := range []string{"unpack", "script"} {
				setFaults(t, m, "package-reboots "+step)
				boot := m.BootID()
				c := begin(t, mustDial(t, m), "sudo -n sh -s", hostScript("cp "+m.fleet.Dir()+"/tools/repository/2.0.0-1 $ROOT/tmp/new; setsid -w env -i PATH=\"$PATH\" timeout 600 "+commands[0]+" $ROOT/tmp/new"))
				_ = c.session.Wait()
				awaitBoot(t, m)
				if m.BootID() == boot {
					t.Error("no reboot")
				}
				seen += onHost(t, m, commands[1]).stdout
			}
			if seen != commands[2] {
				t.Errorf("%q, want %q", seen, commands[2])
			}
			setFaults(t, m)
			if r := onHost(t, m, commands[0]+" $ROOT/tmp/new >/dev/null;"+commands[1]); !strings.HasPrefix(r.stdout, "2.0.0-1") || strings.Contains(r.stdout, "0000") || m.AgentState().Active != "active" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// What the package's own script does to the agent, and an agent of one version that is at fault.
func TestPackageScript(t *testing.T) {
	const started, changed = "Starting az-aoi-ingestion 2.0.0-1, agent_id", "# changed by 2.0.0-1"
	tests := map[string]struct {
		fault     string
		restart   bool
		want, not string
	}{
		"no fault":          {"", true, started, changed},
		"silent":            {"silent version:2.0.0-1", true, "Shutting down", started},
		"another version":   {"silent version:2.1.0-1", true, started, changed},
		"no restart":        {"package-no-restart", false, "NeedDaemonReload=yes", started},
		"the configuration": {"package-changes-configuration", true, changed, "NeedDaemonReload=yes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, m := startOne(t, Options{})
			setFaults(t, m, given(tt.fault)...)
			before := m.AgentState().InvocationID
			r := onHost(t, m, "cd $ROOT/tmp; >$ROOT/var/log/az-aoi-ingestion/stdout.log; apt-get download az-aoi-ingestion=2.0.0-1 && dpkg -i *.deb",
				"systemctl show -p NeedDaemonReload "+Unit, "tail -n 1 $ROOT/etc/az-aoi-ingestion/config.yaml")
			log, _ := m.AgentLog()
			restarted, seen := m.AgentState().InvocationID != before, log+r.stdout
			if restarted != tt.restart || !strings.Contains(seen, tt.want) || strings.Contains(seen, tt.not) {
				t.Errorf("restarted: %v; %+v\n%s", restarted, r, log)
			}
		})
	}
}
