package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// SavePlan writes a plan to a file, for Rotate to carry out, and sets PlanID. It does not
// save a plan if ctx has ended, because hosts may not have been checked, or if Azure does
// not accept a certificate; then it reports that and returns false.
func (f *Fleet) SavePlan(ctx context.Context, path string, plan *rollout.Plan, o Options) (bool, error) {
	switch {
	case plan.Unaccepted:
		f.caller.Say("warning: the plan is not saved: Azure did not accept every certificate, or a new configuration has an error")
		return false, nil
	case ctx.Err() != nil:
		f.caller.Say("interrupted: the plan is not saved")
		return false, nil
	}
	var expires *time.Time
	if o.Expires > 0 {
		at := time.Now().UTC().Truncate(time.Second).Add(o.Expires)
		expires = &at
	}
	saved := &planfile.Plan{
		SchemaVersion: planfile.SchemaVersion, Kind: planfile.Kind, ToolVersion: f.caller.Version, PlanID: f.run.ID, CreatedAt: f.Started.UTC(), ExpiresAt: expires,
		Owner: display.Mask(f.caller.Owner), Inventory: planfile.Inventory{File: display.Mask(f.Inventory.Path), SHA256: f.Inventory.Digest}, Certificate: display.Mask(f.request.Certificate),
		Certificates: f.savedCertificates(), Policy: f.Policy(o), Hosts: plan.Save(),
		Edits: f.request.Configuration.Edits, Configuration: f.request.Configuration.Files, Diffs: plan.SaveDiffs(),
		Command: f.request.Configuration.command(), To: f.request.Configuration.Version,
	}
	if err := planfile.Write(path, saved); err != nil {
		if problem.As(err) != nil {
			return false, err
		}
		return false, internal("cannot save the plan: "+err.Error(), "name another file with --out")
	}
	f.PlanID, f.PlanDigest = saved.ID(), saved.Digest
	return true, nil
}

// savedCertificates returns the certificates of the targets, each once.
func (f *Fleet) savedCertificates() []planfile.Certificate {
	list := []planfile.Certificate{}
	seen := map[string]bool{}
	for _, t := range f.Targets {
		if t.Certificate == nil || seen[t.Certificate.Digest()] {
			continue
		}
		leaf := t.Certificate.Leaf
		seen[t.Certificate.Digest()] = true
		list = append(list, planfile.Certificate{Thumbprint: leaf.Thumbprint, Subject: leaf.Subject, NotAfter: leaf.NotAfter.UTC(), FileSHA256: t.Certificate.Digest()})
	}
	return list
}

// Policy returns how a plan is carried out, as a saved plan has it.
func (f *Fleet) Policy(o Options) planfile.Policy {
	r := f.Inventory.Rollout
	return planfile.Policy{Verify: f.savedVerify(o), Parallel: r.Parallel, MaxFailures: r.MaxFailures.String(), CountUnreachable: r.CountUnreachable,
		Force: o.Force, Deadman: !o.NoDeadman, Canary: r.Canary, Batch: savedBatch(r.Batches), Soak: r.Soak.String(),
		MaxUnavailable: savedUnavailable(r.MaxUnavailable),
		Windows:        savedTexts(r.Windows), Freezes: savedTexts(r.Freezes), IgnoreWindow: o.IgnoreWindow, RequireProof: o.RequireProof}
}

// savedTexts returns the texts of windows or freezes, nil if there are none.
func savedTexts[T fmt.Stringer](list []T) (texts []string) {
	for _, it := range list {
		texts = append(texts, it.String())
	}
	return texts
}

// savedVerify returns whether Azure is asked about the certificates of a plan: "none",
// "skipped" or "entra".
func (f *Fleet) savedVerify(o Options) string {
	switch {
	case f.request.Configuration.Alone, !slices.ContainsFunc(f.Targets, func(t rollout.Target) bool { return t.Host.VerifyEntra }):
		return "none"
	case o.SkipVerify:
		return skippedVerify
	}
	return "entra"
}

const skippedVerify = "skipped"

func savedBatch(batches []inventory.Amount) string {
	list := make([]string, len(batches))
	for i, b := range batches {
		list[i] = b.String()
	}
	return strings.Join(list, ", ")
}

func savedUnavailable(u inventory.Unavailable) string {
	if u.Label == "" {
		return "none"
	}
	return fmt.Sprintf("%s: %d", u.Label, u.Count)
}

// expired returns an error if the saved plan may no longer be carried out.
func (f *Fleet) expired() error { return expired(f.saved, f.EngineURL()) }

func expired(saved *planfile.Plan, engine string) error {
	if !saved.Expired(time.Now()) {
		return nil
	}
	return usage("the plan has expired: it was to be carried out before "+saved.ExpiresAt.UTC().Format(time.DateTime+"Z"),
		"make a new plan: "+planAgain(saved, engine))
}

// OpenSaved is like Open for the hosts of a saved plan, which Rotate then carries out. The
// inventory, the certificates and the policy must be unchanged since the plan was made.
func OpenSaved(ctx context.Context, c Caller, r Request, saved *planfile.Plan) (*Fleet, error) {
	engine := ""
	if r.Engine != nil {
		engine = r.Engine.URL.String()
	}
	if engine == "" { // one may be carrying it out, see Rotate
		if err := expired(saved, ""); err != nil {
			return nil, err
		}
	}
	if r.Inventory == "" {
		return nil, usage("no inventory given, and without --plan-id the one that the plan names is not used: anyone may have edited the plan", "confirm the plan with --plan-id ID (aoifleet plan show FILE), or name the inventory with -i FILE")
	}
	inv, all, err := Load(c, r)
	if err != nil {
		return nil, err
	}
	hint := "check what has changed, then make a new plan: " + planAgain(saved, engine)
	if inv.Digest != saved.Inventory.SHA256 {
		return nil, usage("the inventory is not the one that the plan was made from ("+saved.Inventory.File+")", hint)
	}
	hosts, err := planned(saved, all, planAgain(saved, engine))
	if err != nil {
		return nil, err
	}
	r.Configuration = SavedConfiguration(saved)
	f, err := open(ctx, c, r, inv, hosts)
	if err != nil {
		return nil, err
	}
	for i, h := range saved.Hosts {
		if err := sameCertificate(h, f.Targets[i]); err != nil {
			f.Close()
			return nil, usage(err.Error(), hint)
		}
	}
	if err := f.checkPolicy(saved); err != nil {
		f.Close()
		if n := saved.Policy.Parallel; n != f.Inventory.Rollout.Parallel {
			return nil, usage(err.Error()+fmt.Sprintf(": %d hosts at once, not %d: was the plan edited?", n, f.Inventory.Rollout.Parallel), fmt.Sprintf("if it was made with --parallel %d, give it again; otherwise %s", n, hint))
		}
		return nil, usage(err.Error()+": was the plan edited?", hint)
	}
	f.saved, f.PlanID = saved, saved.ID()
	c.Say(fmt.Sprintf("carrying out plan %s of %s, made by %s", f.PlanID, saved.CreatedAt.UTC().Format(time.DateTime+"Z"), saved.Owner))
	return f, nil
}

// planAgain returns the command that makes a new plan of the same kind, through the engine of that
// URL if there is one.
func planAgain(saved *planfile.Plan, engine string) string {
	command := strings.Join(strings.Fields("aoifleet plan "+saved.Command+" --out FILE"), " ")
	if engine != "" {
		command += " --engine " + engine
	}
	return command
}

// SavedRequest returns r with what a saved plan names and r does not: the inventory and the
// certificate, relative to the current directory as they were then, and the number of restarts
// at once. The caller has confirmed the plan's ID: an inventory may name commands to run, so an
// edited plan must not choose it.
func SavedRequest(saved *planfile.Plan, r Request) Request {
	r.Inventory, r.Certificate = cmp.Or(r.Inventory, saved.Inventory.File), cmp.Or(r.Certificate, saved.Certificate)
	r.Parallel = cmp.Or(r.Parallel, saved.Policy.Parallel)
	return r
}

// SavedOptions returns o with the safeguards of a saved plan instead of its own.
func SavedOptions(saved *planfile.Plan, o Options) Options {
	o.Force, o.NoDeadman, o.SkipVerify = saved.Policy.Force, !saved.Policy.Deadman, saved.Policy.Verify == skippedVerify
	o.IgnoreWindow, o.RequireProof = saved.Policy.IgnoreWindow, saved.Policy.RequireProof
	return o
}

// checkPolicy returns an error if the policy or the waves of a saved plan differ from the
// inventory's.
func (f *Fleet) checkPolicy(saved *planfile.Plan) error {
	o := SavedOptions(saved, Options{})
	if !reflect.DeepEqual(f.Policy(o), saved.Policy) {
		return errors.New("the plan has a different policy than the inventory")
	}
	return rollout.CheckWaves(saved.Hosts, f.policy(o))
}

// planned returns the inventory's hosts that are in a plan, in the plan's order. again makes a new one.
func planned(saved *planfile.Plan, all []inventory.Host, again string) ([]inventory.Host, error) {
	byName := make(map[string]inventory.Host, len(all))
	for _, h := range all {
		byName[h.Name] = h
	}
	hosts := make([]inventory.Host, len(saved.Hosts))
	for i, s := range saved.Hosts {
		h, known := byName[s.Name]
		if !known || h.Address != s.Address {
			return nil, usage("the plan has a host that is not in the inventory: "+s.Name+" at "+s.Address,
				"make a new plan: "+again)
		}
		hosts[i] = h
	}
	return hosts, nil
}

func sameCertificate(h planfile.Host, t rollout.Target) error {
	switch {
	case h.New == nil:
		return nil // the plan does not change it
	case t.Certificate == nil:
		return fmt.Errorf("no certificate is named for %s; the plan was made with %s", h.Name, h.New.Thumbprint)
	case t.Certificate.Digest() != h.New.FileSHA256:
		return fmt.Errorf("the certificate of %s has changed since the plan was made: %s → %s", h.Name, h.New.Thumbprint, t.Certificate.Leaf.Thumbprint)
	}
	return nil
}
