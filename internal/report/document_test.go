package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// TestDocumentIsWrittenAsOne checks that a document written host by host has the same bytes
// as one encoded at once.
func TestDocumentIsWrittenAsOne(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		d := &Document{SchemaVersion: 1, ToolVersion: "v", RunID: "r", Command: "plan", StartedAt: time.Unix(0, 0), Hosts: []Host{}, Totals: map[string]int{"rotated": n}}
		for i := range n {
			outcome := "rotated"
			d.Principals = make([]Principal, i)
			d.Hosts = append(d.Hosts, Host{Name: fmt.Sprint("vm-", i), Outcome: &outcome, Steps: []Step{{Name: "swap", OK: true}}, Note: "<&>\n[]\n}\n", Notes: []string{"a", "b"}})
		}
		var want, got bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(d); err != nil {
			t.Fatal(err)
		}
		if err := d.Write(&got); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Errorf("%d hosts: got\n%s\nwant\n%s", n, got.String(), want.String())
		}
	}
}
