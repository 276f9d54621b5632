package remote

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// plainAlgorithms returns the algorithms of host keys without a certificate, in
// OpenSSH's order: users compare the key with the one that ssh shows. In FIPS 140-3
// mode some are missing.
func plainAlgorithms() []string {
	return supported(ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
}

// certAlgorithms returns the algorithms of host certificates, in OpenSSH's order.
func certAlgorithms() []string {
	return supported(ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01)
}

func supported(algorithms ...string) []string {
	list := ssh.SupportedAlgorithms().HostKeys
	return slices.DeleteFunc(algorithms, func(algorithm string) bool { return !slices.Contains(list, algorithm) })
}

// algorithms returns the algorithms to request, as ssh orders them
// (order_hostkeyalgs in OpenSSH's sshconnect2.c): the server sends one key, and it
// should be one that can be compared. The others follow, so that a key that did
// change is reported as changed. Certificates are requested only if a line decides
// on them: some servers have one that this program cannot read.
func (h *hostCheck) algorithms() []string {
	if h.target.triesEachType() {
		return h.pins.first(h.target.unseen(), h.target.HostKeyFingerprints)
	}
	list := plainAlgorithms()
	if slices.ContainsFunc(h.all(), func(l knownLine) bool { return l.marker != "" }) {
		list = slices.Concat(certAlgorithms(), list)
	}
	own := h.lines[0]
	authority := slices.ContainsFunc(own, func(l knownLine) bool { return l.marker == markerAuthority && l.key != nil })
	hasType := func(algorithm string) bool {
		plain := strings.TrimSuffix(algorithm, "-cert-v01@openssh.com")
		return slices.ContainsFunc(own, func(l knownLine) bool {
			return l.marker == "" && l.key != nil && isOfType(plain, l.key.Type()) && revocation(own, l.key) == nil
		})
	}
	if hasType(list[0]) {
		return list
	}
	var first, last []string
	for _, algorithm := range list {
		if hasType(algorithm) || authority && strings.Contains(algorithm, "-cert-") {
			first = append(first, algorithm)
		} else {
			last = append(last, algorithm)
		}
	}
	return append(first, last...)
}

// finding is what known_hosts says of a key.
type finding struct {
	state   KeyState   // KeyKnown, KeyNew, KeyChanged or KeyRevoked
	line    *knownLine // that decides; nil for KeyNew
	refused error      // why the certificate is not accepted, whose authority is known; or nil
}

// find returns what known_hosts says of a key. A key is revoked if a line says so for
// the host with or without its port; ssh reads the second only if it needs it.
func (h *hostCheck) find(key ssh.PublicKey) finding {
	if line := revocation(h.all(), key); line != nil {
		return finding{state: KeyRevoked, line: line}
	}
	return h.findIn(h.lines, key)
}

// findIn decides as check_host_key in OpenSSH's sshconnect.c: a certificate first, and
// if it is not accepted, the key in it; each by the lines of the host with its port,
// and if these have nothing to compare, by those without.
func (h *hostCheck) findIn(lines [][]knownLine, key ssh.PublicKey) finding {
	found := compare(lines[0], key)
	certificate, _ := key.(*ssh.Certificate)
	if found.state == KeyKnown && certificate != nil {
		if found.refused = checkCertificate(certificate, h.principal()); found.refused != nil {
			found.state = KeyChanged
		}
	}
	if found.state == KeyNew && len(lines) > 1 {
		without := h.findIn(lines[1:], key)
		if without.state == KeyKnown {
			return without
		}
		found.refused = without.refused
	}
	if found.state == KeyKnown || certificate == nil {
		return found
	}
	plain := h.findIn(lines, certificate.Key)
	plain.refused = found.refused
	return plain
}

// compare compares a key, or the authority of a certificate, with the lines of one
// name (check_hostkeys_by_key_or_type in OpenSSH's hostfile.c). The line of a changed
// key is one of the same type if there is one.
func compare(lines []knownLine, key ssh.PublicKey) finding {
	marker := ""
	certificate, _ := key.(*ssh.Certificate)
	if certificate != nil {
		marker, key = markerAuthority, certificate.SignatureKey
	}
	found := finding{state: KeyNew}
	for i := range lines {
		switch l := &lines[i]; {
		case l.key == nil || l.marker != marker:
		case sameKey(l.key, key):
			return finding{state: KeyKnown, line: l}
		case certificate == nil && (found.line == nil || found.line.key.Type() != key.Type()):
			found = finding{state: KeyChanged, line: l}
		}
	}
	return found
}

// revocation returns the line that revokes a key, or the authority of a certificate;
// nil if there is none.
func revocation(lines []knownLine, key ssh.PublicKey) *knownLine {
	revoked := []ssh.PublicKey{withoutCertificate(key)}
	if certificate, ok := key.(*ssh.Certificate); ok {
		revoked = append(revoked, certificate.SignatureKey)
	}
	for i := range lines {
		l := &lines[i]
		if l.marker == markerRevoked && l.key != nil &&
			slices.ContainsFunc(revoked, func(k ssh.PublicKey) bool { return sameKey(withoutCertificate(l.key), k) }) {
			return l
		}
	}
	return nil
}

// authorityAlgorithms are the algorithms with which an authority may sign, as in ssh
// (CASignatureAlgorithms in ssh_config(5)): not ssh-rsa, which uses SHA-1.
var authorityAlgorithms = []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}

// checkCertificate returns why a host certificate of a known authority is not accepted,
// or nil. A certificate without principals is refused, as in new versions of ssh: it
// is valid for every host.
func checkCertificate(c *ssh.Certificate, principal string) error {
	var wrong string
	err := (&ssh.CertChecker{}).CheckCert(principal, c)
	switch {
	case c.CertType != ssh.HostCert:
		wrong = "it is not a host certificate"
	case len(c.ValidPrincipals) == 0:
		wrong = "it names no host"
	case !slices.Contains(authorityAlgorithms, c.Signature.Format):
		wrong = "its authority signed it with " + display.Sanitise(c.Signature.Format, 40)
		if c.Signature.Format == ssh.KeyAlgoRSA {
			wrong += " (SHA-1)"
		}
	case err != nil:
		wrong = display.Sanitise(strings.TrimPrefix(err.Error(), "ssh: "), 200)
	default:
		return nil
	}
	return &problem.Error{Class: problem.HostKeyUnknown, Message: "host certificate not accepted: " + wrong,
		Hint: fmt.Sprintf("sign it again: ssh-keygen -s AUTHORITY -h -n %s -I ID KEY.pub (an RSA authority: -t rsa-sha2-512)", principal)}
}

// changedAddress returns the line with another key for the IP address of a connection,
// if CheckHostIP demands that it is compared; else nil. line is that of the host's key.
func (h *hostCheck) changedAddress(remote net.Addr, key ssh.PublicKey, line *knownLine) *knownLine {
	at, ok := remote.(*net.TCPAddr)
	if _, isCertificate := key.(*ssh.Certificate); isCertificate && line != nil && line.marker == markerAuthority {
		return nil
	}
	if !ok || !h.target.CheckHostIP || at.IP.IsLoopback() {
		return nil
	}
	ip := at.AddrPort().Addr().Unmap().String()
	if ip == h.principal() {
		return nil
	}
	names := withPort(ip, h.target.Port)
	if line == nil || line.matches(h.names[0]) {
		names = names[:1]
	}
	for _, name := range names {
		if found := compare(h.known.find(name), withoutCertificate(key)); found.state == KeyChanged {
			return found.line
		}
	}
	return nil
}
