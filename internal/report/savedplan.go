package report

import (
	"fmt"
	"io"
	"time"

	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// SavedPlan is what the file of a saved plan has besides its hosts.
type SavedPlan struct {
	CreatedAt    time.Time              `json:"created_at"`
	ExpiresAt    *time.Time             `json:"expires_at"` // null: never
	Expired      bool                   `json:"expired"`
	Owner        string                 `json:"owner"`
	ToolVersion  string                 `json:"tool_version"` // that made it
	Digest       string                 `json:"digest"`
	Inventory    planfile.Inventory     `json:"inventory"`
	Certificate  string                 `json:"certificate,omitempty"` // of plan --certificate
	To           string                 `json:"to,omitempty"`          // the version of an upgrade, as it was named
	Edits        []string               `json:"edits,omitempty"`       // of each agent's configuration
	Certificates []planfile.Certificate `json:"certificates"`
	Policy       planfile.Policy        `json:"policy"`
}

// SavedDocument returns the document of a saved plan.
func SavedDocument(h Head, saved *planfile.Plan, p *rollout.Plan, now time.Time) *Document {
	d := NewDocument(h, saved.PlanID, saved.CreatedAt, PlanHosts(p))
	d.PlanID, d.Warnings, d.Totals[toChange] = saved.ID(), PlanWarnings(p), p.Changes()
	d.Saved = &SavedPlan{saved.CreatedAt, saved.ExpiresAt, saved.Expired(now), saved.Owner, saved.ToolVersion, saved.Digest,
		saved.Inventory, saved.Certificate, saved.To, saved.Edits, saved.Certificates, saved.Policy}
	return d
}

// Saved prints a saved plan: where it is from, and the plan.
func (v View) Saved(w io.Writer, saved *planfile.Plan, p *rollout.Plan, now time.Time) {
	line := func(label, text string) { fmt.Fprintf(w, "%-11s %s\n", label, text) }
	line("plan", saved.ID())
	line("made", fmt.Sprintf("%s by %s, aoifleet %s", saved.CreatedAt.UTC().Format(time.RFC3339), saved.Owner, saved.ToolVersion))
	switch {
	case saved.Expired(now):
		line("expired", saved.ExpiresAt.UTC().Format(time.RFC3339))
	case saved.ExpiresAt != nil:
		line("expires", saved.ExpiresAt.UTC().Format(time.RFC3339))
	}
	line("inventory", saved.Inventory.File+", sha256 "+saved.Inventory.SHA256)
	if saved.Certificate != "" {
		line("certificate", saved.Certificate)
	}
	if saved.To != "" {
		line("version", saved.To)
	}
	for _, text := range saved.Edits {
		line("edit", text)
	}
	if saved.Command == "" {
		line("verify", saved.Policy.Verify)
	}
	if saved.Policy.RequireProof != "" {
		line("proof", saved.Policy.RequireProof+" is required")
	}
	for _, text := range saved.Policy.Windows {
		line("window", text)
	}
	for _, text := range saved.Policy.Freezes {
		line("freeze", text)
	}
	fmt.Fprintln(w)
	v.Plan(w, p, now, false)
}
