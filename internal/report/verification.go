package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/verify"
)

// Verification is what `certificate verify -o json` prints after the head.
type Verification struct {
	Questions []Verified         `json:"questions"`
	Hosts     []NotAsked         `json:"not_asked"`
	Totals    VerificationTotals `json:"totals"`
}

// Verified is one question with its answer.
type Verified struct {
	Certificate Certificate     `json:"certificate"`
	TenantID    string          `json:"tenant_id"`
	ClientID    string          `json:"client_id"`
	Vault       *string         `json:"vault"` // null: not to be checked
	Hosts       []string        `json:"hosts"`
	Accepted    bool            `json:"accepted"` // by Entra
	Tries       int             `json:"tries"`
	WaitedMS    int64           `json:"waited_ms"`
	Secret      *VerifiedSecret `json:"secret"` // null: it could not be read
	Error       *azure.Error    `json:"error"`
}

// VerifiedSecret is the agent's secret in a vault, without its value.
type VerifiedSecret struct {
	Name      string     `json:"name"`
	Version   string     `json:"version"`
	Enabled   bool       `json:"enabled"`
	NotBefore *time.Time `json:"not_before"`
	Expires   *time.Time `json:"expires"`
}

// NotAsked is a host whose certificate was not verified.
type NotAsked struct {
	Name    string         `json:"name"`
	Outcome string         `json:"outcome"`
	Error   *problem.Error `json:"error"`
}

// VerificationTotals counts a Verification.
type VerificationTotals struct {
	Accepted int `json:"accepted"` // questions without an error
	Failed   int `json:"failed"`
	NotAsked int `json:"not_asked"` // hosts
}

// VerificationOf returns answers for the document.
func VerificationOf(a *verify.Answers) Verification {
	v := Verification{Questions: []Verified{}, Hosts: []NotAsked{}}
	for _, q := range a.Questions {
		v.Questions = append(v.Questions, verifiedOf(q))
		if q.Err == nil {
			v.Totals.Accepted++
		} else {
			v.Totals.Failed++
		}
	}
	for _, h := range a.NotAsked {
		v.Hosts = append(v.Hosts, NotAsked{Name: h.Host, Outcome: string(h.Outcome), Error: h.Problem})
		v.Totals.NotAsked++
	}
	return v
}

func verifiedOf(q *verify.Question) Verified {
	r := q.Result
	v := Verified{
		Certificate: *certificateOf(&q.Certificate.Leaf),
		TenantID:    azureName(q.TenantID), ClientID: azureName(q.ClientID), Hosts: append([]string{}, q.Hosts...),
		Accepted: r.Accepted, Tries: r.Tries, WaitedMS: r.Waited.Milliseconds(), Error: q.Err,
	}
	if q.Vault != "" {
		vault := azureName(q.Vault)
		v.Vault = &vault
	}
	if s := r.Secret; s.Name != "" {
		v.Secret = &VerifiedSecret{s.Name, s.Version, s.Enabled, timeOrNull(s.NotBefore), timeOrNull(s.Expires)}
	}
	return v
}

// VerificationText prints answers.
func VerificationText(w io.Writer, a *verify.Answers) {
	for _, q := range a.Questions {
		verifiedText(w, q)
	}
	for _, n := range a.NotAsked {
		why := string(n.Outcome)
		if n.Problem != nil {
			why += ": " + n.Problem.Message
		}
		fmt.Fprintf(w, "%s  not verified, %s\n", n.Host, why)
		if n.Problem != nil && n.Problem.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", n.Problem.Hint)
		}
	}
}

func verifiedText(w io.Writer, q *verify.Question) {
	l := q.Certificate.Leaf
	fmt.Fprintf(w, "%s  %s, until %s\n", l.Thumbprint, l.Subject, l.NotAfter.Format(time.DateOnly))
	fmt.Fprintf(w, "  for application %s in tenant %s\n", azureName(q.ClientID), azureName(q.TenantID))
	if len(q.Hosts) > 0 {
		fmt.Fprintf(w, "  on %s: %s\n", inventory.HostCount(len(q.Hosts)), strings.Join(inventory.Fold(q.Hosts), ", "))
	}
	switch r := q.Result; {
	case r.Accepted && r.Waited >= 2*time.Second:
		fmt.Fprintf(w, "  ok: Entra accepts it, after %s\n", r.Waited.Round(time.Second))
	case r.Accepted:
		fmt.Fprintf(w, "  ok: Entra accepts it\n")
	}
	if q.Err != nil {
		fmt.Fprintf(w, "  %s: %s\n", q.Err.Class, q.Err.Message)
		if q.Err.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", q.Err.Hint)
		}
		return
	}
	if s := q.Result.Secret; s.Name != "" {
		until := "without an expiry date"
		if !s.Expires.IsZero() {
			until = "until " + s.Expires.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "  ok: secret %s in vault %s, %s\n", s.Name, azureName(q.Vault), until)
	}
}

// azureName returns a name from an agent's configuration, made safe to print.
func azureName(s string) string { return display.Sanitise(s, 200) }

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
