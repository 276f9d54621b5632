package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"testing"

	"github.com/aoifleet/aoifleet/internal/azure"
)

// One after the other is changed. A "no" of one does not keep the others, but
// where nobody answers nobody is asked again: thirty seconds for each of a
// hundred applications would be an hour.
func TestChange(t *testing.T) {
	no, away := &azure.Error{Class: azure.Forbidden, Message: "no"}, &azure.Error{Class: azure.Unreachable, Message: "away"}
	for _, tt := range []struct {
		name    string
		answers []error
		before  int // the code so far
		asked   int
		want    int
	}{
		{"all done", []error{nil, nil}, exitOK, 2, exitOK},
		{"all done, a host left out", []error{nil, nil}, exitUnreachable, 2, exitUnreachable},
		{"a no", []error{no, nil, nil}, exitUnreachable, 3, exitRefused},
		{"an outage", []error{nil, away, nil, nil}, exitOK, 2, exitUnreachable},
		{"a no, then an outage", []error{no, away, nil}, exitOK, 2, exitRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			a := &app{process: &process{stdout: &out, stderr: &out}, ctx: context.Background(), signals: newSignals(), output: "text", code: tt.before}
			todo := make([]*registration, len(tt.answers))
			for i := range todo {
				todo[i] = &registration{tenant: "t", client: "c", cert: &x509.Certificate{Raw: []byte{byte(i)}}}
			}
			asked := 0
			err := a.change("register", todo, true, func(*registration) (string, error) {
				asked++
				return azure.ByProof, tt.answers[asked-1]
			})
			if err != nil || asked != tt.asked || a.code != tt.want {
				t.Errorf("%v, %d asked, code %d, want %d and %d\n%s", err, asked, a.code, tt.asked, tt.want, out.String())
			}
			for i, r := range todo {
				if i >= asked && r.err != away {
					t.Errorf("of %d nothing is said: %v", i, r.err)
				}
			}
		})
	}
}
