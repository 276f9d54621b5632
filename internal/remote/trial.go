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
	// maxRefusals is how many hosts may refuse a credential that none has accepted
	// before it is given up. Each refusal counts where the accounts are kept (a
	// directory locks them after a few) and at the server
	// (PerSourcePenalties in sshd_config(5), since OpenSSH 9.8).
	maxRefusals = 3
	// trialWait is how long the others wait for a host that is authenticating
	// before the next one is admitted.
	trialWait = 2 * time.Second
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

// credentialOf identifies the credential of t; it contains no secret.
func credentialOf(t Target) string {
	parts := []string{t.User, t.AgentSocket, fmt.Sprint(t.IdentitiesOnly, len(t.IdentityFiles))}
	parts = append(append(parts, t.IdentityFiles...), t.CertificateFiles...)
	if t.hop { // hosts behind a jump host may refuse what it accepts
		parts = append(parts, "jump host")
	}
	if t.Password != nil {
		parts = append(parts, t.Password.Source)
	}
	return strings.Join(parts, "\x00")
}

// trial tries a credential on one host before the whole fleet does. Hosts wait
// only when they have reached authentication, so an unreachable one delays no
// other.
type trial struct {
	mu       sync.Mutex
	accepted bool
	refused  []string       // hosts, each once
	fault    *problem.Error // why no host may try: it is the same for all
	trying   int            // hosts that are authenticating
	latest   time.Time      // when the latest of them was admitted
	queue    []chan error   // those who wait, each for nil or an error
}

// authResult is how an authentication ended.
type authResult int

const (
	undecided authResult = iota // neither, for example because the connection was lost
	accepted
	refused
)

// enter waits until the caller may authenticate. Unless it returns an error, the
// caller must call leave afterwards. The error is that of ctx, or a *problem.Error
// if the credential is given up.
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
	} else if <-turn == nil { // admitted at the same time
		t.trying--
		t.admit()
	}
	return ctx.Err()
}

// admit admits those who may try, in the order of their calls. The caller holds mu.
func (t *trial) admit() {
	for len(t.queue) > 0 {
		err := t.giveUpError()
		if err == nil && !t.hasRoom() {
			return
		}
		if err == nil {
			t.trying++
			t.latest = time.Now()
			if !t.accepted {
				time.AfterFunc(trialWait, t.retryAdmit)
			}
		}
		t.queue[0] <- err
		t.queue = t.queue[1:]
	}
}

// hasRoom returns whether one more may try.
func (t *trial) hasRoom() bool {
	late := time.Since(t.latest) >= trialWait
	return t.accepted || t.trying == 0 || late && t.trying+len(t.refused) < maxRefusals
}

// retryAdmit admits the next one if a host takes longer than trialWait.
func (t *trial) retryAdmit() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.admit()
}

// leave records how the authentication of a host ended that entered. A fault,
// which is the same for all hosts, ends the trial, unless a host has accepted the
// credential before.
func (t *trial) leave(host string, v authResult, fault *problem.Error) {
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

// givenUp returns the error for a host that need not be connected to, because the
// credential is given up, or nil.
func (t *trial) givenUp() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.giveUpError()
}

// giveUpError is givenUp for callers that hold mu.
func (t *trial) giveUpError() error {
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
		Hint:    "fix it for one of them first; if only these hosts are at fault, exclude them with --limit",
	}
}
