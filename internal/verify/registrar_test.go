package verify

import (
	"context"
	"crypto/x509"
	"slices"
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
				todo[i] = &Registration{TenantID: "t", ClientID: string(rune('a' + i)), Certificate: &x509.Certificate{Raw: []byte{byte(i)}}}
			}
			asked, ended := 0, 0
			each := func(*Registration) { ended++ }
			err := change(context.Background(), todo, each, func(group []*Registration) ([]azure.Change, error) {
				asked++
				if tt.answers[asked-1] != nil {
					return nil, tt.answers[asked-1]
				}
				return []azure.Change{{How: azure.ByProof}}, nil
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

// Certificates of one application are changed together. Of an error that some of them
// have, those that were done have none.
func TestChangeTogether(t *testing.T) {
	item := func(client string) *Registration {
		return &Registration{TenantID: "t", ClientID: client, Certificate: &x509.Certificate{}}
	}
	list := []*Registration{item("A"), item("b"), item("a"), item("a")}
	var asked []int
	no := azure.NewError(problem.Forbidden, "", "no", "")
	err := change(context.Background(), list, func(*Registration) {}, func(group []*Registration) ([]azure.Change, error) {
		asked = append(asked, len(group))
		if len(group) == 3 {
			return []azure.Change{{How: azure.ByProof, On: []azure.Place{azure.OnPrincipal}}, {}, {How: azure.ByNothing}}, no
		}
		return []azure.Change{{How: azure.ByList}}, nil
	})
	if err != nil || !slices.Equal(asked, []int{3, 1}) {
		t.Fatal(err, asked)
	}
	for i, want := range []struct {
		done string
		err  *azure.Error
	}{{azure.ByProof, nil}, {azure.ByList, nil}, {"", no}, {azure.ByNothing, nil}} {
		if list[i].Done != want.done || list[i].Err != want.err {
			t.Errorf("%d: %q, %v", i, list[i].Done, list[i].Err)
		}
	}
	if !slices.Equal(list[0].On, []azure.Place{azure.OnPrincipal}) {
		t.Error(list[0].On)
	}
}
