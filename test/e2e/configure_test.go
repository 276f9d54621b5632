//go:build e2e && linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/aoifleet/aoifleet/test/e2e/fleet"
)

const (
	moreUploads = ".pipelines[].sink.maximum_parallel_uploads = 20"
	nextPath    = "/etc/az-aoi-ingestion/certs/next.p12"
	moveCert    = `(.secret_providers[] | select(.key_vault) | .key_vault.service_principal.cert_path) = "` + nextPath + `"`
)

// uploadsLine is what moreUploads adds to the configuration, at its end.
const uploadsLine = "      maximum_parallel_uploads: 20\n"

// configuration returns the bytes of a host's configuration.
func (w *world) configuration(h *fleet.Host) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.Root, fleet.AgentConfig))
	if err != nil {
		w.t.Error(err)
	}
	return string(text)
}

// configurations checks the bytes, owner and mode of every host's configuration, and that the
// agent runs with the certificate that it names.
func (w *world) configurations(want map[string]string, certificate string) {
	w.t.Helper()
	for _, h := range w.fleet.Hosts {
		if got := w.configuration(h); got != want[h.Name] {
			w.t.Errorf("%s: the configuration is\n%s\nexpected\n%s", h.Name, got, want[h.Name])
		}
		path := fleet.CertificatePath
		if strings.Contains(want[h.Name], nextPath) {
			path = nextPath
		}
		w.liveAt(h, path, certificate)
		if facts := w.shell(h, "stat -c '%U:%G %a' "+fleet.AgentConfig+"; ls -A /etc/az-aoi-ingestion"); facts != configFacts[h.Name]+"\ncerts\nconfig.yaml" {
			w.t.Errorf("%s: the configuration belongs to %s", h.Name, facts)
		}
		if state := w.invocation(h); !strings.Contains(state, "ActiveState=active") || !strings.Contains(state, "NRestarts=0") {
			w.t.Errorf("%s: %s", h.Name, state)
		}
	}
}

// configFacts are owners and modes of the configuration. The folder of paris-1 is the agent's,
// where root must not trust any name.
var configFacts = map[string]string{"london-1": "root:root 644", "london-2": "root:az-aoi-ingestion 640", "london-3": "root:root 444", "paris-1": "az-aoi-ingestion:az-aoi-ingestion 600"}

// ownConfigurations gives each host's configuration comments, and its own owner and mode.
func (w *world) ownConfigurations() map[string]string {
	w.t.Helper()
	before := map[string]string{}
	w.shell(w.fleet.Host("paris-1"), "chown az-aoi-ingestion: /etc/az-aoi-ingestion")
	for _, h := range w.fleet.Hosts {
		owner, mode, _ := strings.Cut(configFacts[h.Name], " ")
		before[h.Name] = "# " + h.Name + ": ask the NOC first\n" + strings.Replace(w.configuration(h), "pipelines:\n", "# two  spaces\npipelines: # all\n", 1)
		w.write(h, fleet.AgentConfig, before[h.Name])
		w.shell(h, "chown "+owner+" "+fleet.AgentConfig+"; chmod "+mode+" "+fleet.AgentConfig)
	}
	return before
}

func configured(w *world, rollout map[string]any) {
	before := w.ownConfigurations()
	document, code := w.run("configure", "new", rollout, "--edit", moreUploads, "--dry-run")
	w.expect(document, code, 0, map[string]int{})
	for _, h := range document.Hosts {
		if len(h.Files) != 1 || h.Action != "change" || !strings.Contains(h.Files[0].Diff, "\n+"+uploadsLine) || strings.Count(h.Files[0].Diff, "\n-") > 0 {
			w.t.Errorf("%s: %+v", h.Name, h)
		}
	}
	w.configurations(before, "new")
	document, code = w.run("configure", "new", rollout, "--edit", moreUploads)
	w.expect(document, code, 0, map[string]int{"changed": 4})
	w.configured = document.RunID
	after := map[string]string{}
	for name, text := range before {
		after[name] = text + uploadsLine
	}
	w.configurations(after, "new")
	was := map[string]string{}
	for _, h := range w.fleet.Hosts {
		was[h.Name] = w.invocation(h)
	}
	document, code = w.run("configure", "new", rollout, "--edit", moreUploads)
	w.expect(document, code, 0, map[string]int{"current": 4})
	for _, h := range w.fleet.Hosts {
		if now := w.invocation(h); now != was[h.Name] {
			w.t.Errorf("%s: restarted without need: %s, before %s", h.Name, now, was[h.Name])
		}
	}
}

// now returns all configurations.
func (w *world) now() map[string]string {
	now := map[string]string{}
	for _, h := range w.fleet.Hosts {
		now[h.Name] = w.configuration(h)
	}
	return now
}

func configurationRefused(w *world, rollout map[string]any) {
	before := w.now()
	document, code := w.run("configure", "new", rollout, "--edit", `.log_level = "loud"`)
	w.expect(document, code, 6, map[string]int{"rolled_back": 4})
	for _, h := range document.Hosts {
		if h.Error == nil || h.Error.Class != "unhealthy" || !strings.Contains(strings.Join(h.Evidence, "\n"), "log_level: unknown variant `loud`") {
			w.t.Errorf("%s: %+v, evidence %q", h.Name, h.Error, h.Evidence)
		}
	}
	w.configurations(before, "new")
}

// bothChanged moves the certificate and its path in the configuration. The agent of one host uploads
// nothing with it, which is no proof; before, Entra refuses the certificate on all hosts.
func bothChanged(w *world, rollout map[string]any) {
	before := w.now()
	document, code := w.run("rotate", "refused", rollout, "--force", "--edit", moveCert)
	w.expect(document, code, 6, map[string]int{"rolled_back": 4})
	w.configurations(before, "new")
	w.onAllHosts("test ! -e " + nextPath)

	idle := w.fleet.Host("paris-1")
	w.write(idle, fleet.FaultPath, "no-upload "+w.certs["newer"].Leaf.Thumbprint+"\n")
	document, code = w.run("rotate", "newer", rollout, "--edit", moveCert, "--require-proof", "uploaded")
	w.expect(document, code, 6, map[string]int{"rotated": 3, "rolled_back": 1})
	w.write(idle, fleet.FaultPath, "")
	for i, h := range w.fleet.Hosts {
		got := document.Hosts[i]
		switch {
		case h == idle && (got.Error == nil || !strings.Contains(got.Error.Message, "upload")):
			w.t.Errorf("%s: %+v", h.Name, got.Error)
		case h != idle && (got.Proof == nil || *got.Proof != "uploaded"):
			w.t.Errorf("%s: proof %v", h.Name, got.Proof)
		case h == idle:
			w.live(h, "new")
		default:
			w.liveAt(h, nextPath, "newer")
			w.live(h, "new") // the file at the old path stays
			before[h.Name] = strings.Replace(before[h.Name], fleet.CertificatePath, nextPath, 1)
		}
		if w.configuration(h) != before[h.Name] {
			w.t.Errorf("%s: the configuration is\n%s", h.Name, w.configuration(h))
		}
	}
}

// bothRestored takes back the runs that have changed hosts, the last one first.
func bothRestored(w *world, rollout map[string]any) {
	before := w.now()
	for name, text := range before {
		before[name] = strings.Replace(text, nextPath, fleet.CertificatePath, 1)
	}
	document, code := w.run("rollback", "newer", rollout, "last")
	w.expect(document, code, 0, map[string]int{"restored": 3})
	w.configurations(before, "new")
	w.onAllHosts("test ! -e " + nextPath)

	for name, text := range before {
		before[name] = strings.TrimSuffix(text, uploadsLine)
	}
	document, code = w.run("rollback", "new", rollout, w.configured)
	w.expect(document, code, 0, map[string]int{"restored": 4})
	w.configurations(before, "new")
}
