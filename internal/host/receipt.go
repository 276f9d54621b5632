package host

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Receipt is the record of a transaction on the host.
type Receipt struct {
	State, Run, Owner string
	AtWork            bool          // its process is alive
	Armed             bool          // it has a dead-man switch, which undoes it after Left
	Timed             bool          // Left is known; always set with a switch
	Left              time.Duration // the time in which it can be confirmed; 0: over
	PID               int           // of its process, if it still runs although Left is over; 0: it does not
}

// Holds reports whether the transaction may still be confirmed, so that no other run may
// change the host. If Left is unknown, that is as long as its process lives.
func (r Receipt) Holds() bool {
	return r.State == "pending" && r.AtWork && (r.Left > 0 || !r.Armed && !r.Timed)
}

// Interrupted returns the message for a transaction that has not ended and can no longer
// be confirmed.
func (r Receipt) Interrupted() string {
	text := fmt.Sprintf("run %s of %s was interrupted (%s)", r.Run, r.Owner, r.State)
	if left := r.LeftBehind(); left != "" {
		text += "; " + left
	}
	return text
}

// LeftBehind returns the message for a process that still runs although the time of its
// transaction is over; "" if there is none.
func (r Receipt) LeftBehind() string {
	switch {
	case r.PID == 0:
		return ""
	case r.Run == "":
		return fmt.Sprintf("process %d of an interrupted run is still running on the host", r.PID)
	}
	return fmt.Sprintf("process %d of run %s is still running on the host", r.PID, r.Run)
}

// ofReceipt adds to the last receipt.
func (f *found) ofReceipt(key, text string) {
	if len(f.recs) == 0 {
		return
	}
	r := &f.recs[len(f.recs)-1]
	switch key {
	case "receipt_alive":
		r.AtWork = true
	case "receipt_armed": // after receipt_left, which an earlier script sends only for armed ones
		r.Armed = text == "yes"
	case "receipt_pid":
		r.PID = parsePID(text)
	case "receipt_left":
		if left, err := strconv.ParseInt(text, 10, 32); err == nil {
			r.Armed, r.Timed, r.Left = true, true, max(0, time.Duration(left)*time.Second)
		}
	}
}

// parsePID parses a process id; 0 if it can't be one (proc(5), PID_MAX_LIMIT).
func parsePID(text string) int {
	const most = 1 << 22
	if n, err := strconv.Atoi(text); err == nil && n > 1 && n <= most {
		return n
	}
	return 0
}

// parseReceipt parses `STATE run=RUN owner=OWNER`.
func parseReceipt(text string) Receipt {
	state, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimPrefix(rest, "run=")
	run, owner, _ := strings.Cut(rest, " owner=")
	return Receipt{State: clean(state), Run: clean(run), Owner: strings.TrimSpace(clean(owner))}
}
