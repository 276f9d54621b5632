package report

import (
	"cmp"
	"io"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Prometheus prints the status in the text format that node_exporter's textfile
// collector reads.
func (s *Status) Prometheus(w io.Writer) error {
	r := prometheus.NewRegistry()
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "aoifleet", Name: name, Help: help}, labels)
		r.MustRegister(g)
		return g
	}
	gauge("status_timestamp_seconds", "Time of this check of the fleet.").WithLabelValues().Set(float64(s.Now.Unix()))
	gauge("build_info", "Version of aoifleet that made this check.", "version").WithLabelValues(s.Version).Set(1)
	reached := gauge("host_reached", "1: the host could be checked.", "host", "group")
	passed := gauge("host_passed", "1: reached, the agent is healthy, no run is unfinished, the certificate is valid for long enough.", "host", "group")
	running := gauge("agent_active", "1: the agent's unit is active.", "host", "group")
	unfinished := gauge("transaction_unfinished", "1: a run is unfinished on the host.", "host", "group")
	expires := gauge("certificate_not_after_timestamp_seconds", "End of the live certificate.", "host", "group", "client_id", "thumbprint")
	named := gauge("certificate_in_inventory", "1: the live certificate is the one that the inventory names for the host.", "host", "group")
	agent := gauge("agent_info", "Version of the agent's package and SHA-256 of its configuration, empty where unknown.", "host", "group", "version", "config_sha256")
	uploaded := gauge("last_upload_timestamp_seconds", "Time of the last upload of an SFTP source that the end of the agent's log has.", "host", "group")
	files := gauge("last_upload_files", "Number of files of that upload.", "host", "group")
	for _, e := range s.Entries {
		if e.Outcome == rollout.Skipped {
			continue
		}
		labels := []string{e.Host.Name, e.Host.Group}
		reached.WithLabelValues(labels...).Set(one(e.Seen != nil))
		passed.WithLabelValues(labels...).Set(one(e.Seen != nil && s.Error(e) == nil))
		if e.Seen == nil {
			continue
		}
		_, open := e.Seen.Unfinished()
		running.WithLabelValues(labels...).Set(one(e.Seen.Unit.Active == "active"))
		unfinished.WithLabelValues(labels...).Set(one(open))
		latest := cmp.Or(e.Seen.Latest, &host.Latest{})
		agent.WithLabelValues(e.Host.Name, e.Host.Group, shortText(latest.Version), e.Seen.ConfigDigest).Set(1)
		if !latest.Upload.IsZero() {
			uploaded.WithLabelValues(labels...).Set(float64(latest.Upload.UnixMilli()) / 1000)
			files.WithLabelValues(labels...).Set(float64(latest.Uploads))
		}
		if live := e.Live(); live != nil && e.Seen.Provider != nil {
			expires.WithLabelValues(e.Host.Name, e.Host.Group, shortText(e.Seen.Provider.ClientID), live.Thumbprint).Set(float64(live.NotAfter.Unix()))
			if e.Certificate != nil {
				named.WithLabelValues(labels...).Set(one(!e.Drifted()))
			}
		}
	}
	families, err := r.Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(w, family); err != nil {
			return err
		}
	}
	return nil
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
