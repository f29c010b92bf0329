// Drives a Toxiproxy server with the published Go client. Usage: toxiproxy-drive-go API_URL ECHO_HOST:PORT TOXICS_JSON
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2/client"
)

type toxicCase struct {
	Type       string               `json:"type"`
	Attributes toxiproxy.Attributes `json:"attributes"`
	Update     toxiproxy.Attributes `json:"update"`
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: toxiproxy-drive-go API_URL ECHO_HOST:PORT TOXICS_JSON")
		os.Exit(2)
	}
	if err := drive(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "go client:", err)
		os.Exit(1)
	}
}

func same(what string, got, wanted any) error {
	if reflect.DeepEqual(got, wanted) {
		return nil
	}
	return fmt.Errorf("%s: got %#v, expected %#v", what, got, wanted)
}

// refused says whether err is the API's refusal with this text.
func refused(what string, err error, status int, text string) error {
	var api *toxiproxy.ApiError
	if !errors.As(err, &api) || api.Status != status || api.Message != text {
		return fmt.Errorf("%s: got %v, expected %d %q", what, err, status, text)
	}
	return nil
}

// ping sends a byte through listen and waits for its echo.
func ping(listen string) error {
	connection, err := net.DialTimeout("tcp", listen, 10*time.Second)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := connection.Write([]byte("x")); err != nil {
		return err
	}
	_, err = connection.Read(make([]byte, 1))
	return err
}

func isClosed(listen string) error {
	if err := ping(listen); !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("a connection to %s: got %v, expected a refusal", listen, err)
	}
	return nil
}

func drive(url, upstream, table string) error {
	text, err := os.ReadFile(table)
	if err != nil {
		return err
	}
	var cases []toxicCase
	if err := json.Unmarshal(text, &cases); err != nil {
		return err
	}
	client := toxiproxy.NewClient(url)
	version, err := client.Version()
	if err != nil || !strings.Contains(string(version), `"version"`) {
		return fmt.Errorf("version: %q, %v", version, err)
	}
	proxy, err := client.CreateProxy("go", "127.0.0.1:0", upstream)
	if err != nil {
		return err
	}
	_, err = client.CreateProxy("go", "127.0.0.1:0", upstream)
	if err := refused("a second proxy of that name", errors.Unwrap(err), 409, "proxy already exists"); err != nil {
		return err
	}
	all, err := client.Proxies()
	if err != nil {
		return err
	}
	if all["go"] == nil || !all["go"].Enabled || all["go"].Listen != proxy.Listen || all["go"].Upstream != upstream {
		return fmt.Errorf("the list of proxies: %#v", all["go"])
	}
	if err := ping(proxy.Listen); err != nil {
		return fmt.Errorf("through the proxy: %w", err)
	}
	for _, toxic := range cases {
		for _, stream := range []string{"upstream", "downstream"} {
			if err := driveToxic(proxy, toxic, stream); err != nil {
				return fmt.Errorf("%s %s: %w", stream, toxic.Type, err)
			}
		}
	}
	_, err = proxy.AddToxic("", "nonsense", "", 1, nil)
	if err := refused("an unknown toxic", errors.Unwrap(err), 400, "invalid toxic type"); err != nil {
		return err
	}
	named, err := proxy.AddToxic("", "latency", "", 1, toxiproxy.Attributes{"latency": 1})
	if err != nil {
		return err
	}
	if err := same("the default name", named.Name, "latency_downstream"); err != nil {
		return err
	}
	return driveProxies(client, proxy, upstream)
}

func driveToxic(proxy *toxiproxy.Proxy, toxic toxicCase, stream string) error {
	name := toxic.Type + "-" + stream
	wanted := toxiproxy.Toxic{
		Name: name, Type: toxic.Type, Stream: stream, Toxicity: 0.5, Attributes: toxic.Attributes,
	}
	added, err := proxy.AddToxic(name, toxic.Type, stream, 0.5, toxic.Attributes)
	if err != nil {
		return err
	}
	if err := same("added", *added, wanted); err != nil {
		return err
	}
	_, err = proxy.AddToxic(name, toxic.Type, stream, 0.5, toxic.Attributes)
	if err := refused("added again", errors.Unwrap(err), 409, "toxic already exists"); err != nil {
		return err
	}
	merged := toxiproxy.Attributes{}
	for _, attributes := range []toxiproxy.Attributes{toxic.Attributes, toxic.Update} {
		for key, value := range attributes {
			merged[key] = value
		}
	}
	wanted.Attributes = merged
	// A toxicity of -1 is not sent: the old one stays.
	for _, toxicity := range []float32{-1, 0.25} {
		updated, err := proxy.UpdateToxic(name, toxicity, toxic.Update)
		if err != nil {
			return err
		}
		if toxicity >= 0 {
			wanted.Toxicity = toxicity
		}
		if err := same("updated", *updated, wanted); err != nil {
			return err
		}
	}
	listed, err := proxy.Toxics()
	if err != nil {
		return err
	}
	if err := same("listed", listed, toxiproxy.Toxics{wanted}); err != nil {
		return err
	}
	if err := proxy.RemoveToxic(name); err != nil {
		return err
	}
	return refused("removed again", proxy.RemoveToxic(name), 404, "toxic not found")
}

func driveProxies(client *toxiproxy.Client, proxy *toxiproxy.Proxy, upstream string) error {
	if err := proxy.Disable(); err != nil {
		return err
	}
	if err := isClosed(proxy.Listen); err != nil {
		return err
	}
	if err := proxy.Enable(); err != nil {
		return err
	}
	if err := ping(proxy.Listen); err != nil {
		return fmt.Errorf("after enabling: %w", err)
	}
	populated, err := client.Populate([]toxiproxy.Proxy{
		{Name: "go", Listen: proxy.Listen, Upstream: upstream, Enabled: true},
		{Name: "go-2", Listen: "127.0.0.1:0", Upstream: upstream, Enabled: false},
	})
	if err != nil {
		return err
	}
	if len(populated) != 2 || populated[0].Name != "go" || populated[1].Name != "go-2" || populated[1].Enabled {
		return fmt.Errorf("populated: %#v", populated)
	}
	if err := same("toxics that were kept", len(populated[0].ActiveToxics), 1); err != nil {
		return err
	}
	if err := client.ResetState(); err != nil {
		return err
	}
	toxics, err := proxy.Toxics()
	if err != nil {
		return err
	}
	if err := same("toxics after the reset", len(toxics), 0); err != nil {
		return err
	}
	second, err := client.Proxy("go-2")
	if err != nil {
		return err
	}
	if err := same("enabled after the reset", second.Enabled, true); err != nil {
		return err
	}
	if err := ping(second.Listen); err != nil {
		return fmt.Errorf("after the reset: %w", err)
	}
	for _, gone := range []*toxiproxy.Proxy{proxy, second} {
		if err := gone.Delete(); err != nil {
			return err
		}
		_, err := client.Proxy(gone.Name)
		if err := refused("a deleted proxy", err, 404, "proxy not found"); err != nil {
			return err
		}
		if err := isClosed(gone.Listen); err != nil {
			return err
		}
	}
	return nil
}
