package remote

import (
	"context"
	"fmt"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// CheckLogins returns for each target why no login to it, or to a jump host on its route,
// can succeed as far as this workstation knows; nil: it may. That is so if no key can be
// offered and there is no password, and, where unlock returns true for the target's index, if
// a passphrase is needed for every key and none is right. It contacts no machine but asks
// ssh-agent, and reads equal credentials once.
func (d *Dialer) CheckLogins(ctx context.Context, targets []Target, unlock func(i int) bool) []*problem.Error {
	known := map[string]*problem.Error{}
	check := func(t Target, unlock bool) *problem.Error {
		key := fmt.Sprint(unlock, credentialOf(t))
		if _, done := known[key]; !done {
			known[key] = d.checkLogin(ctx, withDefaults(t), unlock)
		}
		return known[key]
	}
	list := make([]*problem.Error, len(targets))
	for i, t := range targets {
		for _, hop := range t.Via {
			hop.hop = true
			if p := check(hop, unlock(i)); p != nil && list[i] == nil {
				list[i] = problem.As(atHop(hop.Name, p))
			}
		}
		if p := check(t, unlock(i)); p != nil && list[i] == nil {
			list[i] = p
		}
	}
	return list
}

// checkLogin checks one target. It does not wait longer for ssh-agent than a login does,
// which then says so.
func (d *Dialer) checkLogin(ctx context.Context, t Target, unlock bool) *problem.Error {
	limited, limit, cancel := newTimeLimit(ctx, t.ConnectTimeout)
	defer cancel()
	result := make(chan error, 1)
	d.spawn(func() { result <- d.keys.usable(limited, limit.pause, t, unlock) })
	select {
	case err := <-result:
		return problem.As(err)
	case <-limited.Done():
		return nil
	}
}

// usable returns why t's keys and password are of no use; nil if one may be.
func (k *keyring) usable(ctx context.Context, pauseLimit func() func(), t Target, unlock bool) error {
	keys, err := k.offer(ctx, pauseLimit, t, maxOffered)
	if err != nil || !unlock || t.Password != nil {
		return err
	}
	var all []*lockedSigner
	for _, key := range keys.keys {
		locked, ok := key.signer.(*lockedSigner)
		if !ok {
			return nil
		}
		all = append(all, locked)
	}
	for _, key := range all {
		_, wrong := key.unlock()
		if wrong == nil {
			return nil
		}
		if err == nil {
			err = wrong
		}
	}
	return err
}
