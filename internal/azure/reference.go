package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/aoifleet/aoifleet/internal/azurecloud"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Names as "Azure Key Vault keys, secrets and certificates overview" has them.
var (
	vaultName     = regexp.MustCompile(`^[a-zA-Z]([a-zA-Z0-9]|-[a-zA-Z0-9]){2,23}$`)
	secretName    = regexp.MustCompile(`^[0-9a-zA-Z-]{1,127}$`)
	secretVersion = regexp.MustCompile(`^[0-9a-fA-F]{32}$`)
)

const (
	vaultNameHint  = "a vault's name has 3 to 24 letters, digits and single hyphens"
	secretNameHint = "a secret's name has 1 to 127 letters, digits and hyphens"
)

// Reference names a secret in a vault. The secret of a certificate has the
// certificate's name.
type Reference struct {
	Vault   string
	Name    string
	Version string // 32 hex digits; "" is the newest
}

// String returns the form that ParseReference reads.
func (r Reference) String() string {
	s := azurecloud.VaultScheme + r.Vault + "/" + r.Name
	if r.Version != "" {
		s += "/" + r.Version
	}
	return s
}

// ParseReference reads keyvault://VAULT/NAME[/VERSION]. The error is an *Error of
// class Configuration.
func ParseReference(s string) (Reference, error) {
	const form = "write it as keyvault://VAULT/NAME or keyvault://VAULT/NAME/VERSION"
	if !azurecloud.InVault(s) {
		return Reference{}, configuration(form, "it does not begin with %s", azurecloud.VaultScheme)
	}
	parts := strings.Split(s[len(azurecloud.VaultScheme):], "/")
	if len(parts) < 2 || len(parts) > 3 {
		return Reference{}, configuration(form, "it does not name a vault and a certificate")
	}
	r := Reference{Vault: strings.ToLower(parts[0]), Name: parts[1]}
	switch {
	case strings.Contains(r.Vault, "."):
		return Reference{}, configuration("name the vault only; azure.vault_suffix has the rest", "the vault is named by its address")
	case !vaultName.MatchString(r.Vault):
		return Reference{}, configuration(vaultNameHint, "the vault's name is not valid")
	case !secretName.MatchString(r.Name):
		return Reference{}, configuration(secretNameHint, "the certificate's name is not valid")
	case len(parts) == 3 && !secretVersion.MatchString(parts[2]):
		return Reference{}, configuration("a version has 32 hex digits; without one the newest is taken", "the version is not valid")
	case len(parts) == 3:
		r.Version = strings.ToLower(parts[2])
	}
	return r, nil
}

// Content types of a certificate's secret: "Certificate operations", secret
// content type.
const (
	typePKCS12 = "application/x-pkcs12"
	typePEM    = "application/x-pem-file"
)

// File is a certificate with its key as a vault keeps it, in memory only. Printing it
// shows no key.
type File struct {
	State SecretState
	PEM   bool // Bytes is PEM: key and certificates; else a PKCS#12 in base64
	data  func() []byte
}

// Bytes returns the content as of a file. It holds the private key in the clear.
func (f *File) Bytes() []byte { return f.data() }

// String returns name and version.
func (f File) String() string { return fmt.Sprintf("%s, version %s", f.State.Name, f.State.Version) }

// Format prints String for every verb.
func (f File) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, f.String()) }

// Fetch gets a certificate with its key from a vault. A nil credential is the
// operator's: environment, workload identity, managed identity, az login
// (azidentity.DefaultAzureCredential). It ends after Patience.Outage at the
// latest. Every error is an *Error.
func (c *Client) Fetch(ctx context.Context, credential azcore.TokenCredential, ref Reference) (*File, error) {
	if credential == nil {
		var err error
		if credential, err = c.operator(); err != nil {
			return nil, err
		}
	}
	// az login may take longer than a request.
	secret, err := c.secretInTime(ctx, &signIn{TokenCredential: credential}, ref, c.patience.Outage)
	if err != nil {
		return nil, err
	}
	return fileOf(ref, secret)
}

// signIn remembers who signed in, or why there was no token: the clients of vault and Graph
// replace that error. The credential in it does not retry by itself: it would send the same
// assertion, which may not be used twice (RFC 7523 section 3, jti).
type signIn struct {
	azcore.TokenCredential
	tenant string // where to sign in; "": the service says it, else the credential's own
	failed error
	who    identity
}

// GetToken implements azcore.TokenCredential.
func (s *signIn) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if o.TenantID == "" {
		o.TenantID = s.tenant
	}
	token, err := s.TokenCredential.GetToken(ctx, o)
	s.who = identity{}
	if err == nil {
		if s.who = identityOf(token.Token); s.who.elsewhere(o.TenantID) {
			err = inAnotherTenant(s.who, o.TenantID)
		}
	}
	s.failed = err
	return token, err
}

// inAnotherTenant returns the error of a token for another tenant than the wanted one: a
// managed identity, for instance, has tokens of its own tenant only.
func inAnotherTenant(who identity, wanted string) *Error {
	hint := "az login --tenant " + wanted
	if !who.user {
		hint += ", and set AZURE_TOKEN_CREDENTIALS=AzureCLICredential"
	}
	return NewError(problem.Refused, "", fmt.Sprintf("the application or vault is in tenant %s%s", wanted, who.signedIn()), hint)
}

// signInError returns why signing in failed. The library's own text quotes whole
// answers; that of a refusal is read from the answer instead.
func signInError(err error) *Error {
	hint := "az login, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
	var failed *azidentity.AuthenticationFailedError
	switch {
	case AsError(err) != nil:
		return AsError(err)
	case errors.Is(err, context.DeadlineExceeded):
		return NewError(problem.Unreachable, "", "signing in to Azure took too long", "check network, firewall and HTTPS_PROXY")
	case errors.As(err, &failed) && failed.RawResponse != nil:
		body, _ := readWhole(failed.RawResponse)
		v, class := vendorText(body), problem.Refused
		if (exchange{status: failed.RawResponse.StatusCode, body: body}).outage() {
			class = problem.Unreachable
		}
		who := "signing in to Azure"
		if req := failed.RawResponse.Request; req != nil && req.URL.Hostname() == metadataService {
			who, hint = "signing in as this machine's managed identity", toUseAz
		}
		return NewError(class, v.code, fmt.Sprintf("%s failed (HTTP %d)%s", who, failed.RawResponse.StatusCode, said(v.message)), hint)
	case errors.As(err, &failed):
		return NewError(problem.Unreachable, "", "signing in to Azure failed: no usable answer", "check network, firewall and HTTPS_PROXY")
	}
	return NewError(problem.Refused, "", "not signed in to Azure: "+clean(err.Error(), maxText), hint)
}

func fileOf(ref Reference, s azsecrets.Secret) (*File, error) {
	f := &File{State: stateOf(ref.Name, s)}
	if !f.State.Enabled {
		return nil, f.State.problem(ref.Vault, time.Time{})
	}
	content := ""
	if s.ContentType != nil {
		content = strings.ToLower(*s.ContentType)
	}
	value := []byte(*s.Value)
	f.data = func() []byte { return append([]byte(nil), value...) }
	switch {
	case content == typePEM || strings.HasPrefix(*s.Value, "-----BEGIN "):
		f.PEM = true
	case content != typePKCS12 && content != "":
		return nil, NewError(problem.Secret, "", fmt.Sprintf("%s is not a certificate: its content type is %q", ref, clean(content, 60)),
			"name a certificate: az keyvault certificate list --vault-name "+ref.Vault)
	}
	return f, nil
}
