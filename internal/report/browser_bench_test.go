//go:build bench

package report

import (
	"strconv"
	"testing"
)

// A report of 3,000 hosts opens in less than two seconds.
func TestReportOpensAtOnce(t *testing.T) {
	p := opened(t, Of(rotation(3000)))
	ms, err := strconv.ParseFloat(p.Eval(`performance.getEntriesByType("navigation")[0].domComplete`), 64)
	if err != nil || ms == 0 || ms > 2000 {
		t.Errorf("%v ms, %v", ms, err)
	}
	t.Logf("3,000 hosts: %.0f ms", ms)
}
