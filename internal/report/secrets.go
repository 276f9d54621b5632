package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// SecretsDocument is what `secret list -o json` prints.
type SecretsDocument struct {
	Head
	Hosts []SecretsHost `json:"hosts"`
}

// SecretsHost is a host of a SecretsDocument.
type SecretsHost struct {
	Name    string         `json:"name"`
	Address string         `json:"address"`
	Secrets []SecretFile   `json:"secrets"`
	Error   *problem.Error `json:"error"`
}

// SecretFile is a secret of a SecretsHost. A null is unknown.
type SecretFile struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind"`
	Pipelines []string   `json:"pipelines"`
	Present   *bool      `json:"present"`
	Digest    *string    `json:"digest"`
	Changed   *time.Time `json:"changed"`
	Owner     *string    `json:"owner"`
	Mode      *string    `json:"mode"`
	Problem   *string    `json:"problem"` // null: nothing is wrong, if present is known
	Hint      string     `json:"hint"`
}

// Secrets returns the hosts of `secret list`, and whether a secret is wrong.
func Secrets(found []fleet.Inspected) (hosts []SecretsHost, wrong bool) {
	hosts = make([]SecretsHost, len(found))
	for i, h := range found {
		hosts[i] = SecretsHost{Name: h.Host.Name, Address: h.Host.Address, Secrets: []SecretFile{}, Error: errorOf(h.Err)}
		if h.Inspection == nil {
			continue
		}
		for _, s := range h.Secrets {
			file := secretFile(s, h.User)
			hosts[i].Secrets = append(hosts[i].Secrets, file)
			wrong = wrong || file.Problem != nil
		}
		if h.Err == nil && h.Note != "" && len(h.Secrets) > 0 {
			hosts[i].Error = &problem.Error{Class: problem.Configuration, Message: h.Note}
		}
	}
	return hosts, wrong
}

func secretFile(s host.Secret, user string) SecretFile {
	file := SecretFile{Name: display.Sanitise(s.Name, 200), Kind: s.Kind, Pipelines: sanitised(s.Pipelines)}
	if s.State == "" && s.Path != "" {
		return file // no answer
	}
	present := s.State == "file"
	file.Present = &present
	if present {
		file.Digest, file.Owner, file.Mode = &s.Digest, &s.Owner, &s.Mode
	}
	if present && !s.Changed.IsZero() {
		changed := s.Changed.UTC()
		file.Changed = &changed
	}
	if p := s.Problem(user); p != nil {
		file.Problem, file.Hint = &p.Message, p.Hint
	}
	return file
}

func sanitised(texts []string) []string {
	clean := make([]string, len(texts))
	for i, text := range texts {
		clean[i] = display.Sanitise(text, 200)
	}
	return clean
}

// errorOf returns err for a document: nil for nil.
func errorOf(err error) *problem.Error {
	if err == nil {
		return nil
	}
	return host.AsProblem(err)
}

// Secrets prints a line for each secret of each host.
func (v View) Secrets(w io.Writer, hosts []SecretsHost, now time.Time) {
	t := v.table(w, "KIND", "PIPELINES")
	fmt.Fprintln(t, "HOST\tSECRET\tKIND\tPIPELINES\tDIGEST\tAGE\tMODE\tSTATE")
	for _, h := range hosts {
		for _, s := range h.Secrets {
			age := "-"
			if s.Changed != nil {
				age = fmt.Sprintf("%dd", int(now.Sub(*s.Changed).Hours()/24))
			}
			state := "ok"
			switch {
			case s.Present == nil:
				state = "unknown"
			case s.Problem != nil:
				state = strings.TrimPrefix(*s.Problem, "secret "+s.Name+": ")
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.Name, s.Name, s.Kind, strings.Join(s.Pipelines, ","), or(s.Digest), age, or(s.Mode), state)
		}
		switch {
		case h.Error != nil:
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\t-\t%s: %s\n", h.Name, h.Error.Class, h.Error.Message)
		case len(h.Secrets) == 0:
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\t-\tno file secret\n", h.Name)
		}
	}
	_ = t.Flush() // as with all writes here, the caller asks w for the error
}

// or returns a text, "-" for none.
func or(text *string) string {
	if text == nil || *text == "" {
		return "-"
	}
	return *text
}

// SourceKeysDocument is what `secret hostkey -o json` prints.
type SourceKeysDocument struct {
	Head
	Hosts []SourceKeysHost `json:"hosts"`
}

// SourceKeysHost is a host of a SourceKeysDocument.
type SourceKeysHost struct {
	Name    string         `json:"name"`
	Address string         `json:"address"`
	Servers []SourceServer `json:"servers"`
	Error   *problem.Error `json:"error"`
}

// SourceServer is an SFTP server of a host's agent. Keys are those that it has, or without a
// scan those that are known.
type SourceServer struct {
	Server     string         `json:"server"`
	KnownHosts string         `json:"known_hosts_file"`
	Pipelines  []string       `json:"pipelines"`
	Keys       []SourceKey    `json:"keys"`
	Error      *problem.Error `json:"error"` // why it was not scanned, or why it is unknown what is known
}

// SourceKey is a key of a SourceServer. State is known, revoked, authority (the key is that
// of an authority), and after a scan new, changed, or unknown.
type SourceKey struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
	State       string `json:"state"`
}

// SourceKeys returns the hosts of `secret hostkey list` or, if they were scanned, `scan`,
// and whether a server has no known key, or another.
func SourceKeys(found []fleet.Inspected) (hosts []SourceKeysHost, wrong bool) {
	hosts = make([]SourceKeysHost, len(found))
	for i, h := range found {
		hosts[i] = SourceKeysHost{Name: h.Host.Name, Address: h.Host.Address, Servers: []SourceServer{}, Error: errorOf(h.Err)}
		if h.Inspection == nil {
			continue
		}
		for n, s := range h.Servers {
			server := SourceServer{Server: s.String(), KnownHosts: display.Sanitise(s.KnownHosts, 4096), Pipelines: sanitised(s.Pipelines), Keys: []SourceKey{}}
			if !s.Valid() {
				server.Server = display.Sanitise(s.Host, 200)
			}
			if s.Why != "" {
				server.Error = &problem.Error{Class: problem.Configuration, Message: s.Why}
			}
			known := false
			if n < len(h.Reached) {
				known = server.scanned(s, h.Reached[n])
			} else {
				known = server.listed(s)
			}
			wrong = wrong || !known && s.Why == ""
			hosts[i].Servers = append(hosts[i].Servers, server)
		}
	}
	return hosts, wrong
}

// listed adds the known keys, and reports whether there are any.
func (s *SourceServer) listed(known host.KnownServer) bool {
	good := false
	for _, k := range known.Known {
		state := map[string]string{"": "known", "revoked": "revoked", "cert-authority": "authority"}[k.Marker]
		s.Keys = append(s.Keys, SourceKey{k.Type, k.Fingerprint, state})
		good = good || state != "revoked"
	}
	return good
}

// scanned adds the keys of the server, and reports whether one of them is known and none is
// suspect.
func (s *SourceServer) scanned(known host.KnownServer, reached host.Reached) bool {
	if reached.Err != nil {
		s.Error = host.AsProblem(reached.Err)
	}
	good, suspect := false, false
	for i, state := range known.States(reached.Keys) {
		key := reached.Keys[i]
		if known.Why != "" || state == "" {
			state = "unknown"
		}
		s.Keys = append(s.Keys, SourceKey{key.Type, key.Fingerprint, string(state)})
		good = good || state == remote.KeyKnown || state == "unknown"
		suspect = suspect || state == remote.KeyChanged || state == remote.KeyRevoked
	}
	return good && !suspect || reached.Err != nil && len(known.Known) > 0
}

// SourceKeys prints a line for each key of each server of each host.
func (v View) SourceKeys(w io.Writer, hosts []SourceKeysHost) {
	t := v.table(w, "FILE")
	fmt.Fprintln(t, "HOST\tSERVER\tFILE\tTYPE\tFINGERPRINT\tSTATE")
	for _, h := range hosts {
		for _, s := range h.Servers {
			for _, k := range s.Keys {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", h.Name, s.Server, s.KnownHosts, k.Type, k.Fingerprint, k.State)
			}
			switch {
			case s.Error != nil:
				fmt.Fprintf(t, "%s\t%s\t%s\t-\t-\t%s: %s\n", h.Name, s.Server, s.KnownHosts, s.Error.Class, s.Error.Message)
			case len(s.Keys) == 0:
				fmt.Fprintf(t, "%s\t%s\t%s\t-\t-\tno key\n", h.Name, s.Server, s.KnownHosts)
			}
		}
		switch {
		case h.Error != nil:
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t%s: %s\n", h.Name, h.Error.Class, h.Error.Message)
		case len(h.Servers) == 0:
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\tno SFTP source\n", h.Name)
		}
	}
	_ = t.Flush() // as with all writes here, the caller asks w for the error
}
