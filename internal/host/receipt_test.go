package host

import (
	"testing"
	"time"
)

// TestReceipts parses the receipts of transactions that have not ended. The time in which
// they can be confirmed is known with a switch and without one; an earlier script reports
// it only with one.
func TestReceipts(t *testing.T) {
	for name, c := range map[string]struct {
		said  string
		want  Receipt
		holds bool
	}{
		"dead":                    {"", Receipt{}, false},
		"earlier script, armed":   {"receipt_alive=yes\nreceipt_left=9\n", Receipt{AtWork: true, Armed: true, Timed: true, Left: 9 * time.Second}, true},
		"earlier script, unarmed": {"receipt_alive=yes\n", Receipt{AtWork: true}, true},
		"armed":                   {"receipt_alive=yes\nreceipt_left=9\nreceipt_armed=yes\n", Receipt{AtWork: true, Armed: true, Timed: true, Left: 9 * time.Second}, true},
		"unarmed":                 {"receipt_alive=yes\nreceipt_left=9\nreceipt_armed=no\n", Receipt{AtWork: true, Timed: true, Left: 9 * time.Second}, true},
		"unarmed, its time over":  {"receipt_alive=yes\nreceipt_left=0\nreceipt_armed=no\nreceipt_pid=4711\n", Receipt{AtWork: true, Timed: true, PID: 4711}, false},
		"armed, its time over":    {"receipt_alive=yes\nreceipt_left=-3\nreceipt_armed=yes\nreceipt_pid=4711\n", Receipt{AtWork: true, Armed: true, Timed: true, PID: 4711}, false},
		"no number of a process":  {"receipt_pid=1\nreceipt_pid=99999999\n", Receipt{}, false},
		"nonsense":                {"receipt_left=soon\nreceipt_armed=\x1b[2J\nreceipt_pid=4711; rm -rf /\n", Receipt{}, false},
		"more time than there is": {"receipt_alive=yes\nreceipt_left=99999999999\n", Receipt{AtWork: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			recs := parseFound([]byte("receipt_pid=7\nreceipt=pending run=r owner=o\n" + c.said)).recs
			c.want.State, c.want.Run, c.want.Owner = "pending", "r", "o"
			if len(recs) != 1 || recs[0] != c.want || recs[0].Holds() != c.holds {
				t.Errorf("%+v, holds %t", recs, recs[0].Holds())
			}
		})
	}
}
