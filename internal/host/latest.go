package host

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Latest is what only status shows of a host. Like an Observation it comes from the host.
type Latest struct {
	Version string    // of the agent's package; "": unknown
	Upload  time.Time // of the last run of an SFTP source that has uploaded something; zero: unknown
	Uploads int64     // how many files that run has uploaded
}

// vendorsPackage is the name of the agent's package if the inventory has no other.
const vendorsPackage = "az-aoi-ingestion"

// latest returns what the host reports; nil if it does not, as with a helper of an earlier
// version. That is no reason to fail an observation.
func (v *VM) latest(ctx context.Context) *Latest {
	values := v.common()
	if name := v.host.Agent.Package; name != "" && name != vendorsPackage { // a helper of an earlier version does not know the key
		values = append(values, value{"package", name})
	}
	out, err := v.do(ctx, lookTimeout, "latest", values)
	if err != nil {
		return nil
	}
	return parseLatest(parseFound(out))
}

func parseLatest(f *found) *Latest {
	if f.fields["latest"] == "" {
		return nil
	}
	l := &Latest{Version: intern(clean(f.fields["package"]))}
	at, number, _ := strings.Cut(f.fields["uploaded"], " ")
	if upload, err := time.Parse(time.RFC3339Nano, at); err == nil {
		if n, err := strconv.ParseInt(number, 10, 64); err == nil && n > 0 {
			l.Upload, l.Uploads = encodable(upload), n
		}
	}
	return l
}
