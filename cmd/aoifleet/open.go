package main

import (
	"context"
	"fmt"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/report"
)

// caller returns what the procedures on a fleet need from this process. From the
// first contact on a signal ends the context, and no longer the program.
func (a *app) caller(announce func(hosts int) string) fleet.Caller {
	if a.progress == nil {
		a.progress = &report.Progress{W: a.stderr, Terminal: a.draws, Width: a.width}
	}
	c := fleet.Caller{Command: a.verb, Version: version, Owner: a.owner, User: a.user, Home: a.home, SSH: a.ssh, Getenv: a.getenv,
		Azure: a.azure, Say: a.progress.Say, Event: a.progress.Event}
	c.Contact = func(hosts int) {
		a.signals.heed()
		if line := announce(hosts); line != "" {
			fmt.Fprintln(a.stderr, line)
		}
	}
	if a.readSecret != nil {
		c.ReadSecret = a.askSecret
	}
	return c
}

// checking announces a survey; on a terminal the progress shows it.
func (a *app) checking(hosts int) string {
	if a.draws {
		return ""
	}
	return "looking at " + inventory.HostCount(hosts)
}

// quiet announces nothing: the command has asked.
func quiet(int) string { return "" }

// askSecret asks on the terminal, which shows nothing else meanwhile.
func (a *app) askSecret(prompt string) (text string, err error) {
	a.progress.Aside(func() {
		fmt.Fprint(a.stderr, display.MaskLines(prompt))
		text, err = a.readSecret(a.ctx)
		fmt.Fprintln(a.stderr) // the end of the line was not echoed
	})
	return text, err
}

// request returns which hosts the command means.
func (a *app) request(certificates fleet.Certificates) fleet.Request {
	if a.inventoryFile == "" {
		a.inventoryFile = a.getenv("AOIFLEET_INVENTORY")
	}
	return fleet.Request{Inventory: a.inventoryFile, Limit: a.limit, Certificate: a.certificateFile, Certificates: certificates,
		NoLogin: a.noLogin, Offline: a.offline}
}

// open reads everything that is local; nothing is contacted. announce returns the
// line that is shown before hosts are, "" for none.
func (a *app) open(certificates fleet.Certificates, announce func(hosts int) string) (*fleet.Fleet, error) {
	if _, err := a.json(); err != nil {
		return nil, err
	}
	return fleet.Open(a.ctx, a.caller(announce), a.request(certificates))
}

// load reads the inventory and selects hosts.
func (a *app) load() ([]inventory.Host, error) {
	_, hosts, err := fleet.Load(a.caller(nil), a.request(fleet.None))
	return hosts, err
}

// document begins the JSON of a run.
func (a *app) document(f *fleet.Fleet, hosts []report.Host, code int) *report.Document {
	d := report.NewDocument(a.head(code), f.RunID(), f.Started, hosts)
	d.PlanID = f.PlanID
	return d
}

// printDocument prints the JSON of a run; a.stdout remembers what goes wrong.
func (a *app) printDocument(d *report.Document) { _ = d.Write(a.stdout) }

// cutAtSecond returns a context that ends at the second signal, once arm was called.
func (a *app) cutAtSecond() (cut context.Context, arm func(), end func()) {
	cut, end = context.WithCancel(context.Background())
	return cut, func() { a.signals.onSecond(end) }, end
}
