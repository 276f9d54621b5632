package renew

import (
	"context"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/certsource"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// inVault is a certificate in a Key Vault, whose newest version is the one that the inventory
// names. The vault may renew it by itself: a version that is newer than the hosts' is one that
// was not rotated yet, whoever made it.
type inVault struct {
	ref    azure.Reference
	reader *certsource.Reader
}

func (v inVault) read(ctx context.Context) (k kept, err error) {
	k.named, k.former, err = v.reader.Newest(ctx, v.ref)
	return k, err
}

// make makes a version by the policy that the certificate has, or waits for the one that is being
// made.
func (v inVault) make(ctx context.Context, _ time.Time) error {
	made, err := v.reader.Issue(ctx, v.ref, certsource.Wanted{PEM: true})
	if err == nil && made.Certificate == nil {
		return problem.New(problem.Refused, "have it sign the request that aoifleet certificate new --in-keyvault "+v.ref.Vault+"/"+v.ref.Name+" shows, then: aoifleet certificate merge "+v.ref.String()+" ANSWER",
			"its authority has to answer first: the new version waits for that")
	}
	return err
}

// place has nothing to do: the newest version is in its place.
func (inVault) place() error { return nil }

// forget has nothing to do: the vault keeps the versions.
func (inVault) forget() error { return nil }

func (inVault) paths() []string { return nil }
