package remote

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

const (
	// maxRefusals is how many hosts may refuse a credential that none has
	// accepted before the others are spared it. Each refusal counts where the
	// accounts are kept (a directory locks them after a few) and at the server
	// (PerSourcePenalties in sshd_config(5), since OpenSSH 9.8).
	maxRefusals = 3
	// probePatience is how long the others wait for a host that has begun to
	// authenticate and does not come to an end before the next one is let in.
	probePatience = 2 * time.Second
)

// trials has one trial for each credential of a run.
type trials struct {
	mu sync.Mutex
	of map[string]*trial
}

func (t *trials) get(credential string) *trial {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = make(map[string]*trial)
	}
	if t.of[credential] == nil {
		t.of[credential] = new(trial)
	}
	return t.of[credential]
}

// credentialOf names what t logs in with; it holds no secret.
func credentialOf(t Target) string {
	parts := []string{t.User, t.AgentSocket, fmt.Sprint(t.IdentitiesOnly, len(t.IdentityFiles))}
	parts = append(append(parts, t.IdentityFiles...), t.CertificateFiles...)
	if t.hop { // what a jump host accepts, those behind it need not
		parts = append(parts, "jump host")
	}
	if t.Password != nil {
		parts = append(parts, t.Password.Source)
	}
	return strings.Join(parts, "\x00")
}

// trial finds out on one host whether a credential is any good before the whole
// fleet is tried. Hosts are held up only when they have come to authentication,
// so one that can't be reached holds up nobody.
type trial struct {
	mu       sync.Mutex
	accepted bool
	refused  []string       // hosts, each once
	fault    *problem.Error // why nobody need try: it is the same for all hosts
	trying   int            // hosts that are authenticating
	latest   time.Time      // when the latest of them began
	queue    []chan error   // those who wait, each for one word
}

// verdict is how an authentication ended.
type verdict int

const (
	undecided verdict = iota // neither: the connection was lost, say
	accepted
	refused
)

// enter waits until the caller may authenticate; leave is to be called when that
// is over. The error is that of ctx, or an *problem.Error where nobody need try.
func (t *trial) enter(ctx context.Context) error {
	turn := make(chan error, 1)
	t.mu.Lock()
	t.queue = append(t.queue, turn)
	t.admit()
	t.mu.Unlock()
	select {
	case err := <-turn:
		return err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.queue, turn); i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
	} else if <-turn == nil { // it came at the same time
		t.trying--
		t.admit()
	}
	return ctx.Err()
}

// admit lets in who may try, in the order in which they came.
func (t *trial) admit() {
	for len(t.queue) > 0 {
		err := t.hopeless()
		if err == nil && !t.room() {
			return
		}
		if err == nil {
			t.trying++
			t.latest = time.Now()
			if !t.accepted {
				time.AfterFunc(probePatience, t.look)
			}
		}
		t.queue[0] <- err
		t.queue = t.queue[1:]
	}
}

// room tells whether one more may try.
func (t *trial) room() bool {
	late := time.Since(t.latest) >= probePatience
	return t.accepted || t.trying == 0 || late && t.trying+len(t.refused) < maxRefusals
}

// look lets the next one in where a host does not come to an end.
func (t *trial) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.admit()
}

// leave says how it ended for a host that entered. A fault that is none of the
// host's ends the trial for all, unless the credential was accepted before.
func (t *trial) leave(host string, v verdict, fault *problem.Error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trying--
	switch {
	case v == accepted:
		t.accepted = true
	case fault != nil:
		t.fault = fault
	case v == refused && !slices.Contains(t.refused, host) && len(t.refused) < maxRefusals:
		t.refused = append(t.refused, host)
	}
	t.admit()
}

// spared is the error for a host that need not even be connected to, or nil.
func (t *trial) spared() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hopeless()
}

func (t *trial) hopeless() error {
	switch {
	case t.accepted:
		return nil
	case t.fault != nil:
		return t.fault
	case len(t.refused) < maxRefusals:
		return nil
	}
	return &problem.Error{
		Class:   problem.Authentication,
		Message: fmt.Sprintf("not tried: %d hosts refused this credential and none has accepted it (%s)", len(t.refused), strings.Join(t.refused, ", ")),
		Hint:    "fix it for one of them first; if the fault is theirs alone, leave them out with --limit",
	}
}
