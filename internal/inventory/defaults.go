package inventory

import (
	"path/filepath"
	"time"
)

// defaultHost returns a host with the default of every setting.
func defaultHost(env Env) Host {
	h := Host{
		User:           env.User,
		Port:           22,
		ConnectTimeout: 10 * time.Second,
		Sudo:           SudoPasswordless,
		Agent: Agent{
			Unit:        "az-aoi-ingestion.service",
			Package:     "az-aoi-ingestion",
			Config:      "/etc/az-aoi-ingestion/config.yaml",
			Log:         "/var/log/az-aoi-ingestion/stdout.log",
			WhenStopped: "refuse",
		},
		Health: Health{
			Window:      15 * time.Second,
			Timeout:     2 * time.Minute,
			DenyDefault: true,
		},
		Backups: Backups{Keep: 3, MaxAge: 90 * 24 * time.Hour},
	}
	if env.Home != "" {
		h.KnownHosts = filepath.Join(env.Home, ".ssh", "known_hosts")
	}
	return h
}

// defaultRollout returns the policy of an inventory without rollout settings.
func defaultRollout() Rollout {
	return Rollout{Parallel: 1, Batches: []Amount{Percent(100)}, MaxFailures: Amount{n: 1}, CountUnreachable: true,
		ConnectRate: 50, ConnectParallel: 8}
}
