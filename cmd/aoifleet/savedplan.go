package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"al.essio.dev/pkg/shellescape"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// save writes the plan to path, and keeps its id.
func (f *fleet) save(path string, plan *rollout.Plan, flags changeFlags) error {
	a := f.app
	saved := &planfile.Plan{
		SchemaVersion: planfile.SchemaVersion, Kind: planfile.Kind, ToolVersion: version, PlanID: f.run.ID, CreatedAt: f.started.UTC(),
		Owner: printable(a.owner), Inventory: planfile.Inventory{File: printable(f.inv.Path), SHA256: f.inv.Digest},
		Certificates: f.savedCertificates(), Policy: f.savedPolicy(flags), Hosts: plan.Save(),
	}
	if err := planfile.Write(path, saved); err != nil {
		if problem.As(err) != nil {
			return err
		}
		return &problem.Error{Class: problem.Internal, Message: "the plan could not be saved: " + err.Error(), Hint: "name another file with --out"}
	}
	f.planID = saved.ID()
	return nil
}

// tellSaved says which plan is in path, for a reviewer, and how it is carried out.
func (f *fleet) tellSaved(path string) {
	command := slices.Concat([]string{"aoifleet", "rotate", "-i", f.app.inventoryFile}, f.app.certificateArgs(), []string{"--plan", path, "--plan-id", f.planID})
	f.progress.Say("the plan is saved: " + f.planID)
	f.progress.Say("to carry it out: " + printable(shellescape.QuoteCommand(command)))
}

// certificateArgs is --certificate as it was given.
func (a *app) certificateArgs() []string {
	if a.certificateFile == "" {
		return nil
	}
	return []string{"--certificate", a.certificateFile}
}

// savedCertificates are those of the targets, each once.
func (f *fleet) savedCertificates() []planfile.Certificate {
	list := []planfile.Certificate{}
	seen := map[string]bool{}
	for _, t := range f.targets {
		if t.Certificate == nil || seen[t.Certificate.Digest()] {
			continue
		}
		leaf := t.Certificate.Leaf
		seen[t.Certificate.Digest()] = true
		list = append(list, planfile.Certificate{Thumbprint: leaf.Thumbprint, Subject: leaf.Subject, NotAfter: leaf.NotAfter.UTC(), FileSHA256: t.Certificate.Digest()})
	}
	return list
}

// savedPolicy is policy in the words of a saved plan.
func (f *fleet) savedPolicy(flags changeFlags) planfile.Policy {
	r := f.inv.Rollout
	return planfile.Policy{Verify: f.verifyWord(flags), Parallel: r.Parallel, MaxFailures: r.MaxFailures.String(), CountUnreachable: r.CountUnreachable,
		Force: flags.force, Deadman: !flags.noDeadman, Canary: r.Canary, Batch: batchWords(r.Batches), Soak: r.Soak.String(),
		MaxUnavailable: unavailableWords(r.MaxUnavailable)}
}

// verifyWord is whether Azure is asked about the certificates of a plan.
func (f *fleet) verifyWord(flags changeFlags) string {
	switch {
	case !slices.ContainsFunc(f.targets, func(t rollout.Target) bool { return t.Host.VerifyEntra }):
		return "none"
	case flags.skipVerify:
		return skippedVerify
	}
	return "entra"
}

const skippedVerify = "skipped"

func batchWords(batches []inventory.Amount) string {
	words := make([]string, len(batches))
	for i, b := range batches {
		words[i] = b.String()
	}
	return strings.Join(words, ", ")
}

func unavailableWords(u inventory.Unavailable) string {
	if u.Label == "" {
		return "none"
	}
	return fmt.Sprintf("%s: %d", u.Label, u.Count)
}

// prepareSaved is prepare for the hosts of a saved plan: everything that is
// local must be what it was when the plan was made.
func (a *app) prepareSaved(saved *planfile.Plan) (*fleet, error) {
	if _, err := a.json(); err != nil {
		return nil, err
	}
	inv, all, err := a.load()
	if err != nil {
		return nil, err
	}
	const anew = "look at what has changed, then make a new plan: aoifleet plan --out FILE"
	if inv.Digest != saved.Inventory.SHA256 {
		return nil, usage("the inventory is not the one that the plan was made from ("+saved.Inventory.File+")", anew)
	}
	hosts, err := planned(saved.Hosts, all)
	if err != nil {
		return nil, err
	}
	f, err := a.fleetOf(inv, hosts, true)
	if err != nil {
		return nil, err
	}
	for i, h := range saved.Hosts {
		if err := sameCertificate(h, f.targets[i]); err != nil {
			f.close()
			return nil, usage(err.Error(), anew)
		}
	}
	if err := f.sameWay(saved); err != nil {
		f.close()
		return nil, usage(err.Error()+": was it edited?", anew)
	}
	f.planID = saved.ID()
	fmt.Fprintf(a.stderr, "carrying out plan %s of %s, made by %s\n", f.planID, saved.CreatedAt.UTC().Format(time.DateTime+"Z"), saved.Owner)
	return f, nil
}

// sameWay compares the policy and the waves of a saved plan with what they come
// to now.
func (f *fleet) sameWay(saved *planfile.Plan) error {
	flags := changeFlags{force: saved.Policy.Force, noDeadman: !saved.Policy.Deadman, skipVerify: saved.Policy.Verify == skippedVerify}
	if f.savedPolicy(flags) != saved.Policy {
		return errors.New("the plan has another policy than the inventory")
	}
	return rollout.CheckWaves(saved.Hosts, f.policy(flags))
}

// planned are the inventory's hosts that a plan has, in the plan's order.
func planned(saved []planfile.Host, all []inventory.Host) ([]inventory.Host, error) {
	byName := make(map[string]inventory.Host, len(all))
	for _, h := range all {
		byName[h.Name] = h
	}
	hosts := make([]inventory.Host, len(saved))
	for i, s := range saved {
		h, known := byName[s.Name]
		if !known || h.Address != s.Address {
			return nil, usage("the plan has a host that the inventory does not have: "+s.Name+" at "+s.Address, "make a new plan: aoifleet plan --out FILE")
		}
		hosts[i] = h
	}
	return hosts, nil
}

func sameCertificate(h planfile.Host, t rollout.Target) error {
	switch {
	case h.New == nil:
		return nil // the plan leaves it alone
	case t.Certificate == nil:
		return fmt.Errorf("no certificate is named for %s; the plan was made with %s", h.Name, h.New.Thumbprint)
	case t.Certificate.Digest() != h.New.FileSHA256:
		return fmt.Errorf("the certificate of %s is not the one that the plan was made with: %s → %s", h.Name, h.New.Thumbprint, t.Certificate.Leaf.Thumbprint)
	}
	return nil
}

// rotateSaved carries out a saved plan and nothing else.
func (a *app) rotateSaved(flags changeFlags, steering steerFlags) error {
	if a.limit != "" || flags.force || flags.noDeadman || flags.skipVerify {
		return usage("--plan is carried out as it is: without --limit, --force, --no-deadman and --skip-verify", "give them to: aoifleet plan --out FILE")
	}
	saved, err := planfile.Read(flags.saved)
	if err != nil {
		return err
	}
	if id := saved.ID(); flags.planID != "" && flags.planID != id {
		return usage("the plan in "+flags.saved+" is "+id+", not "+flags.planID, "carry out the file that was approved, or have this plan approved")
	}
	f, err := a.prepareSaved(saved)
	if err != nil {
		return err
	}
	defer f.close()
	flags.force, flags.noDeadman, flags.skipVerify = saved.Policy.Force, !saved.Policy.Deadman, saved.Policy.Verify == skippedVerify
	policy := f.policy(flags)
	if err := steering.steer(&policy); err != nil {
		return err
	}
	if err := f.begin(flags, "rotate on"); err != nil {
		return err
	}
	plan := rollout.MakeSaved(saved.Hosts, f.targets, f.surveyOf(rollout.LookAgain(saved.Hosts)), policy)
	f.verify(plan, flags)
	// What is left needs a plan of its own, and somebody who approves it.
	again := slices.Concat([]string{"aoifleet", "plan", "-i", a.inventoryFile}, a.certificateArgs(), []string{"--out", flags.saved})
	return f.carryOut(plan, flags, again)
}
