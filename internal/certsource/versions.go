package certsource

import (
	"context"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Newest reads the newest version of a certificate in a vault that is complete and enabled, also an
// expired one, with its key, and returns the thumbprints of the others. The error is as with Fetch.
func (r *Reader) Newest(ctx context.Context, ref azure.Reference) (newest *certificate.Certificate, others []string, err error) {
	var last *azure.Version
	err = r.onVault(ctx, ref, func(ctx context.Context, v *azure.VaultCertificate) (err error) {
		if last, err = v.Newest(ctx); err != nil || last == nil {
			return err
		}
		all, err := v.Versions(ctx)
		others = nil
		for _, other := range all {
			if other.ID != last.ID && other.Thumbprint != "" {
				others = append(others, other.Thumbprint)
			}
		}
		return err
	})
	if err == nil && last == nil {
		err = &problem.Error{Class: problem.Secret, Message: ref.String() + " has no version that can be used", Hint: "aoifleet certificate new --in-keyvault " + ref.Vault + "/" + ref.Name}
	}
	if err != nil {
		return nil, nil, err
	}
	ref.Version = last.ID
	now := r.Now
	if leaf, _ := certificate.Outline(last.DER); leaf != nil && now.After(leaf.NotAfter) { // one that has expired is the newest too
		now = leaf.NotAfter
	}
	newest, err = r.fetch(ctx, ref, now)
	return newest, others, err
}
