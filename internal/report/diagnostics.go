package report

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

func diagnosticsOf(res rollout.Result) *Diagnostics {
	if res.Diagnostics == nil {
		return nil
	}
	return &Diagnostics{res.Diagnostics.File, res.Diagnostics.Size, res.Diagnostics.SHA256}
}

// GatheredHosts returns the hosts of `gather-diags` for the document.
func GatheredHosts(results []rollout.Result) []Host {
	hosts := make([]Host, len(results))
	for i, res := range results {
		hosts[i] = entryHost(res.Entry)
		hosts[i].Action, hosts[i].Reason, hosts[i].Note = "", "", ""
		hosts[i].Diagnostics = diagnosticsOf(res)
	}
	return hosts
}

// Gathered prints which diagnostics were downloaded, and why the others were not.
func Gathered(w io.Writer, results []rollout.Result) {
	var g grouped
	var bytes int64
	downloaded := 0
	for _, res := range results {
		if res.Outcome != "" {
			g.add(string(res.Outcome), weight(res.Outcome)+1, res.Host.Name, append([]string{res.Reason}, hint(res.Entry)...)...)
			continue
		}
		downloaded++
		bytes += res.Diagnostics.Size
	}
	g.write(w, all)
	writeDiagnostics(w, results)
	total := fmt.Sprintf("%s: %d gathered", inventory.HostCount(len(results)), downloaded)
	if downloaded > 0 {
		total += ", " + Size(bytes)
	}
	fmt.Fprintln(w, total)
}

// writeDiagnostics prints where the zips are: HOST.zip in one folder.
func writeDiagnostics(w io.Writer, results []rollout.Result) {
	folder := ""
	var names []string
	for _, res := range results {
		if res.Diagnostics != nil {
			folder = filepath.Dir(res.Diagnostics.File)
			names = append(names, res.Host.Name)
		}
	}
	switch len(names) {
	case 0:
	case 1:
		fmt.Fprintf(w, "%-14s %s\n", "diagnostics", filepath.Join(folder, names[0]+".zip"))
	default:
		fmt.Fprintf(w, "%-14s %s\n%-14s   each as HOST.zip in %s\n", "diagnostics", all.hosts(names), "", folder)
	}
}

// Size returns a number of bytes as kB or MB.
func Size(bytes int64) string {
	if bytes < 1e6 {
		return fmt.Sprintf("%.1f kB", float64(bytes)/1e3)
	}
	return megabytes(bytes) + " MB"
}

// megabytes returns bytes in units of a million, with one decimal.
func megabytes(bytes int64) string { return fmt.Sprintf("%.1f", float64(bytes)/1e6) }
