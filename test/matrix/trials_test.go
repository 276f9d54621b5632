//go:build matrix && linux

package matrix

// trial is one case on its own machine.
type trial struct {
	step, fault string
	lab         string // the lab's fault
	killAt      string // the program is killed when its journal has this step
	health      string // replaces the inventory's health
	both        bool   // the rotation also changes the configuration
}

// shortDeadlines are settings with short deadlines. The timeout must be long enough for
// a restart on a busy machine.
const shortDeadlines = "{window: 0s, timeout: 4s, confirm_timeout: 3s}"

// longDeadlines are settings for runs that must succeed.
const longDeadlines = "{window: 0s, timeout: 30s}"

// points are the moments of a fault of the lab in a rotation: when the text has
// passed between the program and the host.
var points = []struct{ step, text string }{
	{"lock", "out:step=lock"}, {"check", "out:step=check"}, {"backup", "out:step=backup"}, {"arm", "out:step=arm"},
	{"swap", "out:step=swap"}, {"restart", "out:step=restart"}, {"watch", "out:step=watch"},
	{"verdict", "out:verdict=healthy"}, {"confirm", "in:confirm 20"}, {"end", "out:result=rotated"},
}

var faults = []struct{ fault, word string }{
	{"link silent", "silent-on"}, // first, because it takes longest
	{"connection cut", "cut-on"},
	{"host.sh killed", "kill-on"},
	{"host rebooted", "reboot-on"},
	{"SSH daemon restarted", "sshd-restart-on"},
	{"sudo revoked", "sudo-revoked-on"},
}

func trials() []trial {
	var all []trial
	for _, s := range faults {
		for _, p := range points {
			all = append(all, trial{step: p.step, fault: s.fault, lab: s.word + " " + p.text})
		}
	}
	for _, step := range []string{"stage", "rotate", "lock", "check", "backup", "arm", "swap", "restart", "watch", "confirm"} {
		all = append(all, trial{step: step, fault: "program killed", killAt: step})
	}
	return append(append(all, bothTrials()...),
		trial{step: "from the start", fault: "disk full", lab: "disk-full"},
		trial{step: "backup", fault: "disk full", lab: "disk-full 4"},
		trial{step: "from the start", fault: "file immutable", lab: "immutable"},
		trial{step: "from the start", fault: "clock an hour ahead", lab: "clock-jump 1h"},
		trial{step: "from the start", fault: "clock an hour behind", lab: "clock-jump -1h"},
		trial{step: "confirm", fault: "timer fires", health: `{window: 0s, timeout: 10s, confirm_timeout: 2s, command: "sleep 6"}`},
		trial{step: "arm", fault: "no systemd-run", lab: "missing-tool systemd-run"},
		trial{step: "arm", fault: "systemd-run fails", lab: "timer-fails no such bus"},
		trial{step: "arm", fault: "timer is not active", lab: "timer-dead"},
		trial{step: "arm", fault: "no target wants the unit", lab: "not-wanted"},
		trial{step: "restart", fault: "systemctl restart fails", lab: "restart-fails Job failed."},
	)
}

// bothTrials are faults while two files change, from the first rename to the end.
func bothTrials() []trial {
	var all []trial
	for _, s := range faults[1:4] {
		for _, p := range points[4:] {
			all = append(all, trial{step: p.step + ", two files", fault: s.fault, lab: s.word + " " + p.text, both: true})
		}
	}
	for _, step := range []string{"swap", "restart", "watch", "confirm"} {
		all = append(all, trial{step: step + ", two files", fault: "program killed", killAt: step, both: true})
	}
	return all
}
