package engine

import (
	"net"
	"net/url"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// URL is the namespace of a server: temporal://HOST[:7233]/NAMESPACE.
type URL struct{ Address, Namespace string }

// defaultPort is that of Temporal's frontend.
const defaultPort = "7233"

// String returns the URL as Parse reads it.
func (u URL) String() string { return "temporal://" + u.Address + "/" + u.Namespace }

// Parse reads a URL. The error is a *problem.Error of class usage.
func Parse(text string) (URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "temporal" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return URL{}, wrong(text)
	}
	namespace, more, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if namespace == "" || more != "" || display.Sanitise(namespace, 255) != namespace {
		return URL{}, wrong(text)
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return URL{net.JoinHostPort(u.Hostname(), port), namespace}, nil
}

func wrong(text string) error {
	if strings.Contains(text, "@") { // perhaps a password
		text = text[strings.LastIndexByte(text, '@'):]
	}
	return problem.New(problem.Usage, "such as temporal://temporal.example.net/fleet: a host, perhaps a port, and a namespace", "not the URL of an engine: %s", display.Quote(text, 100))
}
