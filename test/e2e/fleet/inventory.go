//go:build linux

package fleet

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"

	"gopkg.in/yaml.v3"
)

// Inventory has the settings of a test's inventory besides the hosts and their
// addresses. Keys and values are those of the inventory file.
type Inventory struct {
	Certificate string                    // path of the certificate to install
	Defaults    map[string]any            // added to the defaults, or replacing them
	Rollout     map[string]any            // the rollout section
	Hosts       map[string]map[string]any // by host: added to its entry
}

// WriteInventory writes an inventory of all hosts, with their addresses in the namespace.
func (f *Fleet) WriteInventory(path string, inventory Inventory) error {
	defaults := map[string]any{
		"ssh_config":    "none", // the test must not depend on the workstation's
		"user":          loginUser,
		"identity_file": f.IdentityFile,
		"known_hosts":   f.KnownHosts,
	}
	if inventory.Certificate != "" {
		defaults["certificate"] = inventory.Certificate
	}
	maps.Copy(defaults, inventory.Defaults)
	hosts := map[string]map[string]any{}
	for _, h := range f.Hosts {
		entry := map[string]any{"address": h.Addr}
		maps.Copy(entry, inventory.Hosts[h.Name])
		hosts[h.Name] = entry
	}
	document := map[string]any{"version": 1, "defaults": defaults, "hosts": hosts}
	if len(inventory.Rollout) > 0 {
		document["rollout"] = inventory.Rollout
	}
	text, err := yaml.Marshal(document)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// BuildAgent compiles the stand-in agent to path, without C libraries, so that
// it runs on every release.
func BuildAgent(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/aoifleet/aoifleet/test/agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the stand-in agent: %w: %s", err, tail(out))
	}
	return nil
}
