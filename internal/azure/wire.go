package azure

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxAnswer bounds every answer, in bytes, after decompression. Key Vault's
// largest secret has 25 kB, an application with 600 certificates up to 2 MB.
const maxAnswer = 4 << 20

// maxHeader bounds an answer's header, in bytes.
const maxHeader = 64 << 10

// wire sends the requests of one question and remembers the outcome of the last one.
// Failures are judged by that: the errors of the libraries drop the cause, and some
// quote whole answers, tokens among them.
type wire struct {
	client *http.Client

	mu   sync.Mutex
	last exchange
}

// exchange is one request and its answer.
type exchange struct {
	host       string
	status     int           // 0: there was no answer
	retryAfter time.Duration // 0: the answer does not say
	body       []byte        // of an answer that is an error, else nil
	err        error         // why there was no answer
}

var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", maxAnswer>>20)

// newWire returns a wire with connections of its own: a new connection reaches another
// front end of a service. Close it after use.
func (c *Client) newWire() *wire {
	transport := c.transport.Clone()
	transport.MaxResponseHeaderBytes = maxHeader
	return &wire{client: &http.Client{
		Transport: transport,
		// None of the services redirects; a token must not follow one.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// newSignInWire returns a wire for a credential, which is never closed.
func (c *Client) newSignInWire() *wire {
	w := c.newWire()
	transport := w.client.Transport.(*http.Transport)
	transport.DisableKeepAlives = true
	if proxy := transport.Proxy; proxy != nil {
		transport.Proxy = func(req *http.Request) (*url.URL, error) {
			if req.URL.Hostname() == metadataService {
				return nil, nil
			}
			return proxy(req)
		}
	}
	return w
}

// metadataService is where a machine in Azure gets a token of its managed identity. It
// must not be asked through a proxy ("Azure Instance Metadata Service"), whose own
// answer would end the search for a credential.
const metadataService = "169.254.169.254"

func (w *wire) close() { w.client.CloseIdleConnections() }

// Do implements azcore's policy.Transporter. It returns once the whole answer is read.
func (w *wire) Do(req *http.Request) (*http.Response, error) {
	x := exchange{host: req.URL.Host}
	resp, err := w.client.Do(req)
	var body []byte
	if err == nil {
		body, err = readWhole(resp)
	}
	if err == nil {
		x.status, x.retryAfter = resp.StatusCode, retryAfter(resp.Header, time.Now())
		if x.status >= 300 {
			x.body = body
		}
	}
	x.err = err
	w.mu.Lock()
	w.last = x
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// forget drops the last outcome: a request that is not sent has none.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = exchange{}
}

func (w *wire) outcome() exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func readWhole(resp *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	_ = resp.Body.Close()
	if err == nil && len(body) > maxAnswer {
		err = errTooLarge
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// retryAfter reads RFC 9110 section 10.2.3: seconds, or a date. It returns at most a day.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const day = 24 * time.Hour
	value := h.Get("Retry-After")
	if s, err := strconv.Atoi(value); err == nil {
		return time.Duration(max(0, min(s, int(day.Seconds())))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, min(at.Sub(now), day))
	}
	return 0
}

// outage reports whether an exchange says nothing about the question, so that another
// try may succeed.
func (x exchange) outage() bool {
	return x.err != nil || x.status == http.StatusTooManyRequests || x.status >= 500 || x.status == http.StatusRequestTimeout ||
		vendorText(x.body).code == "AADSTS90055" // too many requests, as Entra says it
}

// lasting reports whether an outage is one that another try a moment later does not fix.
func (x exchange) lasting() bool {
	var tlsFailed *tls.CertificateVerificationError // its authority, name or dates
	return noSuchHost(x.err) || errors.As(x.err, &tlsFailed) || errors.Is(x.err, errTooLarge) || badProxy(x.err)
}

// mayBeDone reports whether the service may have done what was asked for although the request
// failed: also after an answer of success, which an interruption hides from the caller.
func (x exchange) mayBeDone() bool {
	var op *net.OpError
	var tlsFailed *tls.CertificateVerificationError
	switch {
	case x.err == nil:
		return x.status >= 500 && x.status != http.StatusServiceUnavailable || x.status >= 200 && x.status < 300
	case errors.As(x.err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"), errors.As(x.err, &tlsFailed):
		return false // nothing was sent
	}
	return !noSuchHost(x.err) && !badProxy(x.err)
}

func noSuchHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func badProxy(err error) bool {
	return err != nil && strings.Contains(err.Error(), "invalid proxy address")
}

// unreachable returns why there was no usable answer.
func (x exchange) unreachable() *Error {
	e := &Error{Base: problem.Error{Class: problem.Unreachable}, Lasting: x.lasting()}
	switch {
	case x.err != nil:
		reason, hint := transportReason(x.err)
		e.Message, e.Hint = fmt.Sprintf("%s can't be reached: %s", x.host, reason), hint
	case x.status == http.StatusTooManyRequests:
		e.Message = x.host + " has too many requests and refuses this one (HTTP 429)"
		if x.retryAfter > 0 {
			e.Message += fmt.Sprintf("; retry in %s", x.retryAfter)
		}
		e.Hint = "wait, then run it again"
	default:
		e.Message = fmt.Sprintf("%s is unavailable (HTTP %d)%s", x.host, x.status, said(vendorText(x.body).message))
		e.Hint = "see https://azure.status.microsoft, then run it again"
	}
	return e
}

// transportReason returns why there was no answer, without an address that is repeated
// and without a proxy's password.
func transportReason(err error) (reason, hint string) {
	var (
		authority x509.UnknownAuthorityError
		verify    *tls.CertificateVerificationError
		outer     *url.Error
		netErr    net.Error
	)
	const firewall = "check network, firewall and HTTPS_PROXY"
	switch {
	case noSuchHost(err):
		return "no such host", "check the name, and DNS on this machine"
	case errors.As(err, &authority):
		return "its TLS certificate is signed by an unknown authority", "behind a proxy that inspects TLS, set azure.ca_file in the inventory, or SSL_CERT_FILE, to its CA certificates"
	case errors.As(err, &verify):
		return "its TLS certificate is not valid: " + clean(verify.Err.Error(), 200), "check the clock (date -u) and the address"
	case badProxy(err):
		return "the proxy's address is not valid", "set HTTPS_PROXY to http://HOST:PORT"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "no answer in time", firewall
	case errors.Is(err, errTooLarge):
		return errTooLarge.Error(), firewall
	case errors.As(err, &outer):
		return clean(outer.Err.Error(), 200), firewall
	}
	return clean(err.Error(), 200), firewall
}

func said(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}
