package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/report"
)

// verification is `certificate verify -o json`.
type verification struct {
	head
	Questions []verified  `json:"questions"`
	Hosts     []notAsked  `json:"not_asked"`
	Totals    verifyTally `json:"totals"`
}

type verified struct {
	Certificate report.Certificate `json:"certificate"`
	TenantID    string             `json:"tenant_id"`
	ClientID    string             `json:"client_id"`
	Vault       *string            `json:"vault"` // null: it was not to be asked
	Hosts       []string           `json:"hosts"`
	Accepted    bool               `json:"accepted"` // by Entra
	Tries       int                `json:"tries"`
	WaitedMS    int64              `json:"waited_ms"`
	Secret      *verifiedSecret    `json:"secret"` // null: it could not be seen
	Error       *azureError        `json:"error"`
}

type verifiedSecret struct {
	Name      string     `json:"name"`
	Version   string     `json:"version"`
	Enabled   bool       `json:"enabled"`
	NotBefore *time.Time `json:"not_before"`
	Expires   *time.Time `json:"expires"`
}

type azureError struct {
	report.Error
	Code string `json:"code,omitempty"` // the vendor's
}

type notAsked struct {
	Name    string        `json:"name"`
	Outcome string        `json:"outcome"`
	Error   *report.Error `json:"error"`
}

type verifyTally struct {
	Accepted int `json:"accepted"` // questions without an error
	Failed   int `json:"failed"`
	NotAsked int `json:"not_asked"` // hosts
}

// tellVerified prints the answers and sets the exit code.
func (a *app) tellVerified(questions []*question, rest []unasked) error {
	a.code = verifyCode(questions, rest)
	if sig := a.signals.got(); sig != nil {
		a.code = signalCode(sig)
	}
	if asJSON, _ := a.json(); asJSON {
		a.print(a.verification(questions, rest))
		return nil
	}
	for _, q := range questions {
		q.print(a.stdout)
	}
	for _, u := range rest {
		why := string(u.outcome)
		if u.reason != nil {
			why += ": " + u.reason.Message
		}
		fmt.Fprintf(a.stdout, "%s  not asked, %s\n", u.host, why)
		if u.reason != nil && u.reason.Hint != "" {
			fmt.Fprintf(a.stdout, "  hint: %s\n", u.reason.Hint)
		}
	}
	return nil
}

func (q *question) print(w io.Writer) {
	l := q.cert.Leaf
	fmt.Fprintf(w, "%s  %s, until %s\n", l.Thumbprint, l.Subject, l.NotAfter.Format(time.DateOnly))
	fmt.Fprintf(w, "  for application %s in tenant %s\n", hostText(q.ClientID), hostText(q.TenantID))
	if len(q.hosts) > 0 {
		fmt.Fprintf(w, "  of %s: %s\n", hostCount(len(q.hosts)), strings.Join(report.Fold(q.hosts), ", "))
	}
	switch r := q.result; {
	case r.Accepted && r.Waited >= 2*time.Second:
		fmt.Fprintf(w, "  ok: Entra accepts it, after %s\n", r.Waited.Round(time.Second))
	case r.Accepted:
		fmt.Fprintf(w, "  ok: Entra accepts it\n")
	}
	if q.err != nil {
		fmt.Fprintf(w, "  %s: %s\n", q.err.Class, q.err.Message)
		if q.err.Hint != "" {
			fmt.Fprintf(w, "  hint: %s\n", q.err.Hint)
		}
		return
	}
	if s := q.result.Secret; s.Name != "" {
		until := "without an end"
		if !s.Expires.IsZero() {
			until = "until " + s.Expires.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "  ok: secret %s in vault %s, %s\n", s.Name, hostText(q.Vault), until)
	}
}

func (a *app) verification(questions []*question, rest []unasked) verification {
	v := verification{head: a.head(a.code), Questions: []verified{}, Hosts: []notAsked{}}
	for _, q := range questions {
		v.Questions = append(v.Questions, q.document())
		if q.err == nil {
			v.Totals.Accepted++
		} else {
			v.Totals.Failed++
		}
	}
	for _, u := range rest {
		n := notAsked{Name: u.host, Outcome: string(u.outcome)}
		if u.reason != nil {
			n.Error = &report.Error{Class: u.reason.Class, Message: u.reason.Message, Hint: u.reason.Hint}
		}
		v.Hosts = append(v.Hosts, n)
		v.Totals.NotAsked++
	}
	return v
}

func (q *question) document() verified {
	l, r := q.cert.Leaf, q.result
	d := verified{
		Certificate: report.Certificate{Thumbprint: l.Thumbprint, SHA256: l.SHA256, Subject: l.Subject, NotAfter: l.NotAfter},
		TenantID:    hostText(q.TenantID), ClientID: hostText(q.ClientID), Hosts: append([]string{}, q.hosts...),
		Accepted: r.Accepted, Tries: r.Tries, WaitedMS: r.Waited.Milliseconds(), Error: azureErrorOf(q.err),
	}
	if q.Vault != "" {
		vault := hostText(q.Vault)
		d.Vault = &vault
	}
	if s := r.Secret; s.Name != "" {
		d.Secret = &verifiedSecret{s.Name, s.Version, s.Enabled, timeOrNull(s.NotBefore), timeOrNull(s.Expires)}
	}
	return d
}

func azureErrorOf(e *azure.Error) *azureError {
	if e == nil {
		return nil
	}
	return &azureError{report.Error{Class: string(e.Class), Message: e.Message, Hint: e.Hint}, e.Code}
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
