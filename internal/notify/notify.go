// Package notify posts the result of a run to a webhook, once. Its address is a secret: whoever
// has it can post there too. No error contains any part of it.
package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/aoifleet/aoifleet/internal/azure"
	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Limit is how long a post may take, from the look-up of the name to the status of the answer.
const Limit = 10 * time.Second

// Check returns an error if an address is not one to post to: https, or http on this machine.
func Check(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("it is not an https address")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("it is an http address of another machine: only https keeps it and the result secret")
	}
	return nil
}

// Post sends a JSON document with the proxy and the authorities of requests to Azure. It follows
// no redirect, tries once and does not read the body of the answer. The base transport is that of
// azure.New.
func Post(ctx context.Context, cloud azurecloud.Settings, base *http.Transport, address, agent string, document []byte) error {
	if err := Check(address); err != nil {
		return err
	}
	transport, err := azure.TransportTo(cloud, base)
	if err != nil {
		if own := problem.As(err); own != nil {
			return errors.New(own.Message)
		}
		return errors.New("the settings under azure: are wrong")
	}
	transport.DisableKeepAlives = true
	ctx, cancel := context.WithTimeout(ctx, Limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(document))
	if err != nil {
		return errors.New("it is not an https address")
	}
	req.GetBody = nil // the transport would send it again on another connection
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", agent)
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return reason(err)
	}
	_ = resp.Body.Close() // an answer may have no end
	switch code := resp.StatusCode; {
	case code/100 == 3:
		return fmt.Errorf("it answers with a redirect (HTTP %d), which is not followed", code)
	case code/100 != 2:
		return fmt.Errorf("it answers with HTTP %d", code)
	}
	return nil
}

// reason returns why a post failed. Errors of net/http and net contain the address or its host.
func reason(err error) error {
	var name *net.DNSError
	var untrusted *tls.CertificateVerificationError
	var slow net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.As(err, &slow) && slow.Timeout():
		return fmt.Errorf("no answer within %v", Limit)
	case errors.As(err, &name):
		return errors.New("the name of its host is not known")
	case errors.As(err, &untrusted):
		return errors.New("its TLS certificate is not trusted")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("the connection is refused")
	}
	return errors.New("the connection fails")
}
