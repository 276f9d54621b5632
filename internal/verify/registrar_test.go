package verify

import (
	"context"
	"crypto/x509"
	"testing"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// One after the other is changed. A "no" of one does not keep the others, but
// where Azure gives no answer it is not asked again: thirty seconds for each of a
// hundred applications would be an hour.
func TestChange(t *testing.T) {
	no, away := azure.NewError(problem.Forbidden, "", "no", ""), azure.NewError(problem.Unreachable, "", "away", "")
	for _, tt := range []struct {
		name    string
		answers []error
		asked   int
	}{
		{"all done", []error{nil, nil}, 2},
		{"a no", []error{no, nil, nil}, 3},
		{"an outage", []error{nil, away, nil, nil}, 2},
		{"a no, then an outage", []error{no, away, nil}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			todo := make([]*Registration, len(tt.answers))
			for i := range todo {
				todo[i] = &Registration{TenantID: "t", ClientID: "c", Certificate: &x509.Certificate{Raw: []byte{byte(i)}}}
			}
			asked, ended := 0, 0
			each := func(*Registration) { ended++ }
			err := change(context.Background(), todo, each, func(*Registration) (string, error) {
				asked++
				return azure.ByProof, tt.answers[asked-1]
			})
			if err != nil || asked != tt.asked || ended != len(todo) {
				t.Errorf("%v, %d asked, want %d; %d ended", err, asked, tt.asked, ended)
			}
			for i, r := range todo {
				if i >= asked && r.Err != away {
					t.Errorf("the error of %d is %v", i, r.Err)
				}
			}
		})
	}
}
