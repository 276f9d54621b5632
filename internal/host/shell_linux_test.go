package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// fakeShell accepts calls like host.sh, records each and answers by its verb.
const fakeShell = `
echo shell >>"$DIR/noted"
while IFS= read -r line; do
    case $line in
    verb=*) verb=${line#verb=} ;;
    AOIFLEET-VALUES)
        echo "$verb" >>"$DIR/noted"
        case $verb in
        discard) printf 'result=discarded\nend=0\n' ;;
        prune) printf 'removed=1\nresult=pruned\n' ;;
        stage) printf 'result=staged\nend=1\n' ;;
        observe) printf 'error=configuration the host has no awk\nresult=refused\n'; exit ;;
        recover) printf 'step=lock\n'; exit 3 ;;
        examine) yes 'note=x' ;;
        rotate) printf 'step=lock\nresult=refused\nend=0\n' ;;
        esac
        ;;
    esac
done`

// TestSharedShell: a call uses the shell of the previous call only if that has reported its
// end; a call without an end is an error, whatever its output.
func TestSharedShell(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		call    func(v *VM) error
		message string // of the error
		noted   string
	}{
		"ended":    {discards, "", "shell discard discard discard"},
		"no end":   {within(2*time.Second, "prune"), "timed out", "shell discard prune shell discard"},
		"bad end":  {within(time.Minute, "stage"), "ended without a result", "shell discard stage discard"},
		"refuses":  {func(v *VM) error { _, err := v.Observe(t.Context(), ObserveOptions{}); return err }, "the host has no awk", "shell discard observe shell discard"},
		"dies":     {lost, "the host's script failed", "shell discard recover shell discard"},
		"too much": {within(time.Minute, "examine"), "more output than allowed", "shell discard examine shell discard"},
		"last":     {func(v *VM) error { return complaint(v.converse(t.Context(), "rotate", nil, func(string) {})) }, "not lost: refused", "shell discard rotate shell discard"},
		"not sound": {func(v *VM) error {
			_, err := v.do(t.Context(), time.Minute, "stage", []value{{"owner", "a\nb"}})
			return err
		}, "owner contains a newline", "shell discard discard"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			s.install(t, "sh", fakeShell)
			v := New(s.dial(t), inventory.Host{Name: "vm", Sudo: inventory.SudoNone}, Run{ID: "r"}, nil)
			check(t, discards(v))
			if err := c.call(v); (err == nil) != (c.message == "") || err != nil && !strings.Contains(err.Error(), c.message) {
				t.Errorf("got %v, want %q", err, c.message)
			}
			check(t, discards(v))
			text, err := os.ReadFile(filepath.Join(s.dir, "noted"))
			check(t, err)
			if got := strings.Join(strings.Fields(string(text)), " "); got != c.noted {
				t.Errorf("got %s, want %s", got, c.noted)
			}
		})
	}
}

// discards runs a call that succeeds.
func discards(v *VM) error {
	_, err := v.do(context.Background(), time.Minute, "discard", nil)
	return err
}

func within(limit time.Duration, verb string) func(v *VM) error {
	return func(v *VM) error {
		_, err := v.do(context.Background(), limit, verb, nil)
		return err
	}
}

func lost(v *VM) error { return complaint(v.Recover(context.Background(), func(string) {})) }

// complaint returns the problem of a report with an unknown ending.
func complaint(r *Report) error {
	if r.Ending != Lost {
		return errors.New("not lost: " + string(r.Ending))
	}
	return r.Problem
}

// TestShellEndsWithTheConnection: after Close no call succeeds.
func TestShellEndsWithTheConnection(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.install(t, "sh", fakeShell)
	v := New(s.dial(t), inventory.Host{Name: "vm", Sudo: inventory.SudoNone}, Run{ID: "r"}, nil)
	check(t, discards(v))
	check(t, v.Close())
	var lost *problem.Error
	if err := discards(v); !errors.As(err, &lost) || lost.Class != problem.Unreachable {
		t.Errorf("%v", err)
	}
}
