package azure

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxText is the longest text of a service that is kept, in characters.
const maxText = 600

var (
	aadsts = regexp.MustCompile(`AADSTS([0-9]{4,9})`)
	// What looks like a token (RFC 7519) or long base64: a service has no reason to
	// quote one, and it must not be passed on.
	tokenLike = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*){0,2}|[A-Za-z0-9+/=_-]{120,}|(?i:(?:\b|%26|%3f)sig(?:=|%3d))[^&\s]+`)
)

// clean makes foreign text safe to show: one line, no control
// characters, nothing that looks like a token, at most limit characters.
func clean(s string, limit int) string {
	if len(s) > 16*maxText {
		s = s[:16*maxText]
	}
	s = tokenLike.ReplaceAllString(s, "(…)")
	s = strings.Join(strings.FieldsFunc(s, unicode.IsSpace), " ")
	return display.Shorten(display.Mask(strings.ToValidUTF8(s, "?")), limit)
}

// vendor is the error in an answer.
type vendor struct{ code, inner, message string }

// vendorText reads an error of Entra ({"error": …, "error_description": …}), or
// of Key Vault and Graph ({"error": {"code": …, "message": …, "innererror": {"code": …}}}).
// It returns the zero vendor for anything else.
func vendorText(body []byte) vendor {
	var top struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(body, &top) != nil {
		return vendor{}
	}
	if top.Description != "" {
		v := vendor{message: clean(top.Description, maxText)}
		if code := aadsts.FindString(top.Description); code != "" {
			v.code = code
		} else if json.Unmarshal(top.Error, &v.code) == nil {
			v.code = clean(v.code, 60)
		}
		return v
	}
	var nested struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   struct {
			Code string `json:"code"`
		} `json:"innererror"`
	}
	if json.Unmarshal(top.Error, &nested) != nil {
		return vendor{}
	}
	return vendor{clean(nested.Code, 60), clean(nested.Inner.Code, 60), clean(nested.Message, maxText)}
}

// entraHints say what to do, by code: "Microsoft Entra authentication and
// authorization error codes". CLIENT is filled in.
var entraHints = map[string]string{
	"AADSTS700027":  "register it: aoifleet certificate register; Entra may take minutes to know it then",
	"AADSTS700016":  "check client_id, and that the application is in this tenant: az ad sp show --id CLIENT",
	"AADSTS7000229": "create the application's service principal in this tenant: az ad sp create --id CLIENT",
	"AADSTS90002":   "check tenant_id, and azure.cloud in the inventory",
	"AADSTS7000112": "its service principal is disabled (az ad sp update --id CLIENT --set accountEnabled=true), or the application is deactivated (App registrations, Activate)",
	"AADSTS7000214": "the certificate is revoked: ask its authority for a new one, or make one, aoifleet certificate new",
	"AADSTS7000277": "the certificate is revoked: ask its authority for a new one, or make one, aoifleet certificate new",
	"AADSTS7000274": "the certificate is not valid now: make a new one, aoifleet certificate new; or check the clock of this machine: date -u",
	"AADSTS50012":   "the signature is not that of the registered certificate: register this file's own, aoifleet certificate register",
	"AADSTS53003":   "Conditional Access blocks sign-ins from here: run it from the agents' network",
	"AADSTS90038":   "the tenant is in another cloud: set azure.cloud in the inventory",
	"AADSTS900382":  "the tenant is in another cloud: set azure.cloud in the inventory",
	"AADSTS700024":  "check the clock of this machine: date -u",
	"AADSTS1000502": "the certificate is not valid now: make a new one, aoifleet certificate new",
}

// refused returns the error of an answer in which Entra refuses.
func (c *Client) refused(x exchange, q Question) *Error {
	v := vendorText(x.body)
	if v.message == "" {
		return notTheService(x)
	}
	e := NewError(problem.Refused, v.code, "Entra refuses the certificate: "+v.message, entraHint(v, q.ClientID))
	if pending(e) {
		e.Message = "the certificate is not registered: " + v.message
	}
	return e
}

// entraHint returns what to do about Entra's refusal of an application, "" if that is unknown.
func entraHint(v vendor, client string) string {
	if expired(v) {
		return "the certificate has expired: make a new one, aoifleet certificate new"
	}
	return strings.ReplaceAll(entraHints[v.code], "CLIENT", client)
}

// expired reports whether a refusal is one that waiting does not fix.
func expired(v vendor) bool {
	return v.code == "AADSTS700027" && strings.Contains(v.message, "The key used is expired")
}

// pending reports whether a refusal may end once a new certificate has propagated. Entra has
// one code for that, for an expired key, and for a key that it has found and whose signature is
// wrong.
func pending(e *Error) bool {
	return e.Class == problem.Refused && e.Code == "AADSTS700027" && strings.Contains(e.Message, "key was not found")
}

// notTheService returns the error of an answer that is not in the service's form: from
// a proxy, a captive portal or a wrong address.
func notTheService(x exchange) *Error {
	what := "an unreadable answer"
	if x.status >= 300 {
		what = fmt.Sprintf("HTTP %d and no readable answer", x.status)
	}
	return NewError(problem.Unexpected, "", fmt.Sprintf("%s sent %s", x.host, what),
		"a proxy or another server may have answered: check HTTPS_PROXY, and azure: in the inventory")
}
