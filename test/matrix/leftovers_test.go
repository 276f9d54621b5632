//go:build matrix && linux

package matrix

import (
	"path/filepath"
	"slices"
)

func (g *trialRun) nothingLeft() {
	g.t.Helper()
	if leftovers := g.leftovers(); len(leftovers) > 0 {
		g.t.Errorf("left: %v", leftovers)
	}
}

// leftovers returns the remaining files of a transaction or a switch.
func (g *trialRun) leftovers() []string {
	return append(g.switchFiles(), slices.Concat(g.glob(g.state(), "pending", "undoing", "staged-*", "fetch-*"), g.glob(g.m.Root, "etc/az-aoi-ingestion/certs/.aoifleet-*", "etc/az-aoi-ingestion/.aoifleet-*"))...)
}

// switchFiles returns the timers and files of a dead-man switch.
func (g *trialRun) switchFiles() []string {
	return slices.Concat(g.m.Timers(), g.glob(g.state(), "backups/*/host.sh", "backups/*/deadline"),
		g.glob(g.m.Root, "etc/systemd/system/aoifleet-*", "etc/systemd/system/*/aoifleet-*", "run/aoifleet/*"))
}

func (g *trialRun) glob(dir string, patterns ...string) []string {
	var found []string
	for _, pattern := range patterns {
		paths, _ := filepath.Glob(filepath.Join(dir, pattern))
		found = append(found, paths...)
	}
	return found
}
