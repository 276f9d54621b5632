package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// trialRun is a set of hosts that try one credential, with their results.
type trialRun struct {
	t     *testing.T
	trial *trial

	mu     sync.Mutex
	began  map[string]time.Duration // since the start
	errors map[string]error
	work   sync.WaitGroup
	start  time.Time
}

func newTrialRun(t *testing.T) *trialRun {
	return &trialRun{t: t, trial: new(trials).get("x"), began: map[string]time.Duration{}, errors: map[string]error{}, start: time.Now()}
}

// host authenticates as name for the time takes, with the result v.
func (c *trialRun) host(name string, takes time.Duration, v authResult) {
	c.work.Go(func() {
		err := c.trial.enter(c.t.Context())
		c.mu.Lock()
		c.errors[name] = err
		c.began[name] = time.Since(c.start)
		c.mu.Unlock()
		if err == nil {
			time.Sleep(takes)
			c.trial.leave(name, v, nil)
		}
	})
	synctest.Wait() // so that hosts enter in the order of the calls
}

func TestTrialOneHostFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrialRun(t)
		c.host("first", time.Second, accepted)
		for i := range 100 {
			c.host(fmt.Sprint("other", i), time.Second, refused)
		}
		c.work.Wait()
		for name, at := range c.began {
			want := time.Second
			if name == "first" {
				want = 0
			}
			if at != want || c.errors[name] != nil {
				t.Errorf("%s began after %v, %v", name, at, c.errors[name])
			}
		}
		if took := time.Since(c.start); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// TestTrialThreeRefusals checks that three hosts refuse the credential, one at a
// time, and that no other host tries it.
func TestTrialThreeRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrialRun(t)
		for i := range 100 {
			c.host(fmt.Sprint("host", i), time.Second, refused)
		}
		c.work.Wait()
		tried, notTried := []time.Duration{}, 0
		for name, err := range c.errors {
			if err == nil {
				tried = append(tried, c.began[name])
				continue
			}
			notTried++
			e := wantError(t, err, problem.Authentication, "not tried: 3 hosts refused this credential and none has accepted it (host")
			if e.Hint == "" || c.began[name] != 3*time.Second {
				t.Errorf("%s after %v: %v", name, c.began[name], e)
			}
		}
		slices.Sort(tried)
		if fmt.Sprint(tried) != "[0s 1s 2s]" || notTried != 97 {
			t.Errorf("tried after %v, %d not tried", tried, notTried)
		}
		if c.trial.givenUp() == nil {
			t.Error("later hosts are tried")
		}
	})
}

// TestTrialAcceptedAfterRefusals checks that a valid credential is not given up for
// hosts that refuse it.
func TestTrialAcceptedAfterRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrialRun(t)
		c.host("a", time.Second, refused)
		c.host("b", time.Second, undecided)
		c.host("c", time.Second, refused)
		c.host("d", time.Second, accepted)
		for i := range 10 {
			c.host(fmt.Sprint("e", i), time.Second, refused)
		}
		c.work.Wait()
		for name, err := range c.errors {
			if err != nil || strings.HasPrefix(name, "e") && c.began[name] > 4*time.Second {
				t.Errorf("%s after %v: %v", name, c.began[name], err)
			}
		}
		if c.trial.givenUp() != nil {
			t.Error("refusals count after it was accepted")
		}
	})
}

// TestTrialCountsHosts checks that repeated refusals by one host count once.
func TestTrialCountsHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrialRun(t)
		for range 10 {
			c.host("same", time.Second, refused)
		}
		c.work.Wait()
		if err := c.trial.givenUp(); err != nil {
			t.Error(err)
		}
	})
}

// TestTrialHangingHost checks that a host that hangs in authentication delays the
// others for trialWait, and that there are at most three tries meanwhile.
func TestTrialHangingHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrialRun(t)
		c.host("hangs", time.Minute, undecided)
		c.host("good", time.Second, accepted)
		c.host("other", time.Second, undecided)
		c.work.Wait()
		if c.began["good"] != trialWait || c.began["other"] != trialWait+time.Second {
			t.Errorf("began %v", c.began)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c := newTrialRun(t)
		for i := range 10 {
			c.host(fmt.Sprint("host", i), time.Minute, refused)
		}
		c.work.Wait()
		tried := 0
		for _, err := range c.errors {
			if err == nil {
				tried++
			}
		}
		if tried != maxRefusals {
			t.Errorf("%d hosts tried", tried)
		}
	})
}

// TestTrialFault checks that a fault on this side is the error of all hosts at once.
func TestTrialFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := new(trials).get("x")
		if err := tr.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		others := make(chan error, 2)
		for range 2 {
			go func() { others <- tr.enter(t.Context()) }()
		}
		synctest.Wait()
		fault := keyProblem("the passphrase is wrong", "")
		tr.leave("a", undecided, fault)
		for range 2 {
			if err := <-others; !errors.Is(err, fault) {
				t.Error(err)
			}
		}
	})
}

func TestTrialIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := new(trials).get("x")
		if err := tr.enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		waiting := make(chan error, 1)
		go func() { waiting <- tr.enter(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		tr.leave("a", undecided, nil)
		if err := tr.enter(t.Context()); err != nil { // a cancelled host takes no place
			t.Error(err)
		}
	})
}

func TestCredentialOf(t *testing.T) {
	base := Target{User: "a", IdentityFiles: []string{"x", "y"}, Password: &Password{Source: "env X"}}
	same := base
	same.Name, same.Address, same.Port, same.KnownHosts = "other", "10.0.0.1", 2222, "elsewhere"
	same.Password = &Password{Source: "env X"}
	same.ProxyCommand, same.Via = "nc 10.0.0.1 2222", []Target{{Address: "bastion"}}
	if credentialOf(base) != credentialOf(same) {
		t.Error("the credential depends on the machine")
	}
	seen := map[string]bool{credentialOf(base): true}
	for i, change := range []func(*Target){
		func(t *Target) { t.User = "b" },
		func(t *Target) { t.IdentityFiles = []string{"x"} },
		func(t *Target) { t.IdentityFiles = []string{"y", "x"} },
		func(t *Target) { t.IdentityFiles, t.CertificateFiles = []string{"x"}, []string{"y"} },
		func(t *Target) { t.AgentSocket = "none" },
		func(t *Target) { t.IdentitiesOnly = true },
		func(t *Target) { t.Password = nil },
		func(t *Target) { t.hop = true },
		func(t *Target) { t.Password = &Password{Source: "env Y"} },
	} {
		other := base
		change(&other)
		if seen[credentialOf(other)] {
			t.Errorf("change %d makes no difference", i)
		}
		seen[credentialOf(other)] = true
	}
}

func TestTimeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, limit, cancel := newTimeLimit(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		time.Sleep(4 * time.Second)
		first, second := limit.pause(), limit.pause()
		time.Sleep(time.Hour)
		first()
		first() // counts once
		time.Sleep(time.Hour)
		second()
		if ctx.Err() != nil {
			t.Fatal("the limit was not paused")
		}
		<-ctx.Done()
		if got := time.Since(start) - 2*time.Hour; got != 10*time.Second {
			t.Errorf("ended after %v", got)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	limited, _, stop := newTimeLimit(ctx, time.Hour)
	defer stop()
	cancel()
	<-limited.Done()
}

// TestWrongKeyForManyHosts checks that three hosts get a wrong key, one after
// another, and the other ninety-seven do not.
func TestWrongKeyForManyHosts(t *testing.T) {
	var offers, at, most atomic.Int32
	refuse := func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		offers.Add(1)
		most.Store(max(most.Load(), at.Add(1)))
		defer at.Add(-1)
		return nil, errors.New("no")
	}
	s := newFakeServer(t)
	s.config.PublicKeyCallback = refuse
	s.start()
	d := newDialer(t, Options{ConnectParallel: 100})
	failures := make([]error, 100)
	var work sync.WaitGroup
	for i := range failures {
		work.Go(func() {
			target := s.target
			target.Name = fmt.Sprint("host-", i)
			_, failures[i] = d.Dial(testContext(t), target)
		})
	}
	work.Wait()
	refusals, notTried := 0, 0
	for _, err := range failures {
		var e *problem.Error
		switch {
		case !errors.As(err, &e) || e.Class != problem.Authentication:
			t.Errorf("%v", err)
		case strings.Contains(e.Message, "refused user admin"):
			refusals++
		case strings.Contains(e.Message, "not tried: 3 hosts refused this credential"):
			notTried++
		}
	}
	if refusals != 3 || notTried != 97 || offers.Load() != 3 || most.Load() != 1 {
		t.Errorf("%d refusals, %d not tried; the server got %d, %d at once", refusals, notTried, offers.Load(), most.Load())
	}
	before := s.connections()
	_, err := d.Dial(testContext(t), s.target)
	wantError(t, err, problem.Authentication, "not tried")
	if s.connections() != before {
		t.Error("another connection was made")
	}
	target := s.target
	target.User = "another"
	_, err = d.Dial(testContext(t), target)
	wantError(t, err, problem.Authentication, "refused user another")
}
