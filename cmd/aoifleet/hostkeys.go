package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/remote"
	"github.com/aoifleet/aoifleet/internal/report"
)

// scanParallel is how many hosts are scanned at once.
const scanParallel = 64

type scanFlags struct{ pin, add, yes bool }

func (a *app) hostkeysCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "hostkeys", Short: "Look at the SSH host keys of the fleet", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var flags scanFlags
	scan := &cobra.Command{Use: "scan", Short: "Get every host's keys without logging in, and say which are known, new or changed", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.hostkeysScan(flags) }}
	a.fleetFlags(scan)
	f := scan.Flags()
	f.BoolVar(&flags.pin, "pin", false, "print the inventory's lines that pin the keys, instead of a table")
	f.BoolVar(&flags.add, "add", false, "show the new keys, ask, and append them to known_hosts; a changed key is never replaced")
	f.BoolVarP(&flags.yes, "yes", "y", false, "do not ask")
	cmd.AddCommand(scan)
	return cmd
}

// check finds what contradicts itself, before a host is contacted.
func (flags scanFlags) check(a *app) error {
	asJSON, err := a.json()
	switch {
	case err != nil:
		return err
	case flags.pin && (flags.add || asJSON):
		return usage("--pin prints lines for the inventory and nothing else", "leave out --add and -o json")
	case flags.yes && !flags.add:
		return usage("--yes says yes to --add, which is not there", "leave it out, or give --add")
	case flags.add:
		return a.mayAsk(changeFlags{yes: flags.yes})
	}
	return nil
}

func (a *app) hostkeysScan(flags scanFlags) error {
	if err := flags.check(a); err != nil {
		return err
	}
	a.offline = true // as to passwords: nobody logs in
	f, err := a.prepare(false)
	if err != nil {
		return err
	}
	defer f.close()
	scans := f.scan()
	a.code = a.scanCode(scans)
	asJSON, _ := a.json()
	switch {
	case flags.pin:
		report.HostKeyPins(a.stdout, scans)
	case !asJSON:
		report.HostKeys(a.stdout, scans)
	case flags.add && !flags.yes:
		report.HostKeys(a.stderr, scans) // stdout is for the document alone
	}
	if flags.add && a.signals.got() == nil {
		f.addHostKeys(scans, flags.yes)
	}
	if asJSON {
		a.print(struct {
			head
			Hosts []report.ScannedHost `json:"hosts"`
		}{a.head(a.code), report.ScannedHosts(scans)})
	}
	return nil
}

// scan gets the keys of all hosts.
func (f *fleet) scan() []report.Scanned {
	f.app.signals.heed()
	fmt.Fprintf(f.app.stderr, "getting the keys of %s\n", inventory.HostCount(len(f.targets)))
	scans := make([]report.Scanned, len(f.targets))
	var work errgroup.Group
	work.SetLimit(scanParallel)
	for i, t := range f.targets {
		work.Go(func() error {
			keys, err := f.dialer.ScanHostKeys(f.app.ctx, f.target(*t.Host))
			scans[i] = report.Scanned{Host: *t.Host, Keys: keys, Err: err}
			return nil
		})
	}
	_ = work.Wait() // each error is its host's
	return scans
}

// scanCode: 4 where a host could not be scanned, 5 where a key has changed.
func (a *app) scanCode(scans []report.Scanned) int {
	code := exitOK
	for _, s := range scans {
		switch {
		case s.Err != nil:
			code = exitUnreachable
		case code == exitOK && s.Has(remote.KeyChanged, remote.KeyRevoked):
			code = exitRefused
		}
	}
	if sig := a.signals.got(); sig != nil {
		return signalCode(sig)
	}
	return code
}

// addHostKeys writes the new keys to known_hosts, once somebody has said yes.
func (f *fleet) addHostKeys(scans []report.Scanned, yes bool) {
	a := f.app
	hosts, keys := 0, 0
	for _, s := range scans {
		if n := s.Count(remote.KeyNew); n > 0 && !s.Has(remote.KeyChanged, remote.KeyRevoked) {
			hosts, keys = hosts+1, keys+n
		}
	}
	if keys == 0 {
		fmt.Fprintln(a.stderr, "there is no new key to add")
		return
	}
	question := fmt.Sprintf("add %s of %s to known_hosts? Compare the fingerprints first", keyCount(keys), inventory.HostCount(hosts))
	if !yes && !a.agree(question) {
		a.code = exitEnded
		if sig := a.signals.got(); sig != nil {
			a.code = signalCode(sig)
		}
		return
	}
	f.writeHostKeys(scans)
}

func (f *fleet) writeHostKeys(scans []report.Scanned) {
	added := 0
	for i := range scans {
		s := &scans[i]
		if s.Err != nil {
			continue
		}
		if s.Added, s.Err = f.dialer.AddHostKeys(f.target(s.Host), s.Keys); s.Err != nil {
			f.app.words(s.Host.Name+": "+s.Err.Error(), "")
			f.app.code = exitInternal
		}
		added += s.Added
	}
	fmt.Fprintf(f.app.stderr, "added %s\n", keyCount(added))
}

func keyCount(n int) string {
	if n == 1 {
		return "1 key"
	}
	return fmt.Sprintf("%d keys", n)
}
