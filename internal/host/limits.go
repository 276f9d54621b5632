package host

import (
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
)

// longestRestart is how long an undo waits for a restart at most, where systemd waits longer.
const longestRestart = 10 * time.Minute

// UndoTime returns how long an undo on the host may take: a restart for as long as systemd
// waits for one (undo_time in host.sh), until the agent is healthy, and the window.
func (u Unit) UndoTime(h inventory.Health) time.Duration {
	restart := longestRestart
	if u.StopTime > 0 && u.StartTime > 0 && sum(u.StopTime, u.StartTime) < longestRestart {
		restart = min(restart, u.StopTime+u.StartTime+10*time.Second)
	}
	return max(restart, h.Timeout) + h.Timeout + h.Window
}

// EndTime returns how long a host whose operator is gone may take to end what goes on there:
// the restart and the watch, and an undo.
func (u Unit) EndTime(h inventory.Health) time.Duration {
	return h.Timeout + h.Window + u.UndoTime(h) + diagnosisTime(h) + time.Minute
}

// SettleTime returns how long after the last contact a host with a dead-man switch has
// settled at the latest: it may go on to its verdict, a restart and a watch; the switch looks
// every 15 s (and a second of accuracy) whether its time is up, and undoes.
func (u Unit) SettleTime(h inventory.Health) time.Duration {
	return 2*h.Timeout + h.Window + u.UndoTime(h) + diagnosisTime(h) + h.Hold() + 16*time.Second
}

// talkTime returns how long the conversation of a transaction may take: the restart, the
// watch and how long it waits for what has yet to come, an undo and the diagnostics.
func (u Unit) talkTime(h inventory.Health) time.Duration {
	return 2*h.Timeout + h.Window + u.UndoTime(h) + 3*time.Minute
}

// diagnosisTime returns how much longer an undo may take because diagnostics are gathered
// before it: the tool, the copy of its zip, and what the host waits for besides (unhealthy in
// host.sh).
func diagnosisTime(h inventory.Health) time.Duration {
	if h.Diagnostics {
		return BeforeUndo + 2*time.Minute
	}
	return 0
}
