package remote

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aoifleet/aoifleet/internal/display"
)

// TestHideInTail checks that a long standard error is not cut within a secret.
func TestHideInTail(t *testing.T) {
	const secret = "ninety-nine-balloons"
	display.Hide(secret)
	for shift := range len(secret) {
		var kept tail
		_, _ = kept.Write([]byte(strings.Repeat(secret, 1000) + strings.Repeat("x", shift)))
		text := kept.text()
		plain := strings.TrimRight(strings.ReplaceAll(text, display.Redacted, ""), "x")
		if len(text) > MaxForeignText || !utf8.ValidString(text) || strings.Contains(plain, "ball") {
			t.Fatalf("%d bytes, left over: %q", len(text), plain)
		}
	}
}

// TestHideInQuestion checks that a password is hidden when the server repeats it in
// a question.
func TestHideInQuestion(t *testing.T) {
	display.Hide(rightPassword)
	s, d := newFakeServer(t), new(authRecorder)
	s.config.PublicKeyCallback = nil
	s.config.KeyboardInteractiveCallback = d.asks("Password: ", "\x1b[1mcorr\x1b[0mect\n horse has expired, the new one?")
	target := s.start().target
	target.IdentityFiles = nil
	target.Password = &Password{Source: "test", Get: func(context.Context) (string, error) { return rightPassword, nil }}
	dialer := NewDialer(Options{})
	defer dialer.Close()
	_, err := dialer.Dial(t.Context(), target)
	if err == nil || !strings.Contains(err.Error(), "[redacted] has expired") || strings.Contains(err.Error(), "horse") {
		t.Errorf("%v", err)
	}
}
