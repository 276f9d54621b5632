package host

import (
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// longestRestart limits how long an undo waits for a restart.
const longestRestart = 10 * time.Minute

// InstallTime limits the installation of a package on the host: ten minutes for the lock of the
// package manager's database, ten for the package's own scripts, and the minute in which they are
// ended. An undo of it needs the same time again.
const InstallTime = 21 * time.Minute

// UndoTime returns the longest time of an undo on the host: the restart, for as long as
// systemd waits for it (undo_time in host.sh), the time until the agent is healthy, and
// the window.
func (u Unit) UndoTime(h inventory.Health) time.Duration {
	restart := longestRestart
	if u.StopTime > 0 && u.StartTime > 0 && sum(u.StopTime, u.StartTime) < longestRestart {
		restart = min(restart, u.StopTime+u.StartTime+10*time.Second)
	}
	return max(restart, h.Timeout) + h.Timeout + h.Window
}

// EndTime returns how long a host without contact to its operator may take to end a
// transaction: the restart, the watch and an undo.
func (u Unit) EndTime(h inventory.Health) time.Duration {
	return h.Timeout + h.Window + h.ProofTimeout + u.UndoTime(h) + diagnosisTime(h) + time.Minute
}

// SettleTime returns the time after the last contact by which a host with a dead-man
// switch has ended the transaction at the latest: it may continue to its verdict, with a
// restart and a watch; then the switch, which checks its deadline every 15 s (with one
// second of accuracy), undoes it.
func (u Unit) SettleTime(h inventory.Health) time.Duration {
	return 2*h.Timeout + h.Window + h.ProofTimeout + u.UndoTime(h) + diagnosisTime(h) + h.Hold() + 16*time.Second
}

// conversationTime returns the longest time of a transaction's conversation: the restart,
// the watch with its time-out, an undo and the diagnostics.
func (u Unit) conversationTime(h inventory.Health) time.Duration {
	return 2*h.Timeout + h.Window + h.ProofTimeout + u.UndoTime(h) + 3*time.Minute
}

// diagnosisTime returns how much longer an undo may take with diagnostics before it: the
// tool, the copy of its zip, and the time-outs on the host (undo_unhealthy in host.sh).
func diagnosisTime(h inventory.Health) time.Duration {
	if h.Diagnostics {
		return BeforeUndo + 2*time.Minute
	}
	return 0
}
