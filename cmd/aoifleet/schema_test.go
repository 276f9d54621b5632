package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// docs/inventory.schema.json is what the program prints: make it again with
// go run ./cmd/aoifleet inventory schema >docs/inventory.schema.json
func TestSchemaIsCommitted(t *testing.T) {
	code, stdout, stderr := runAlone(t, "", "inventory", "schema")
	if code != 0 || stderr != "" {
		t.Fatalf("%d\n%s", code, stderr)
	}
	if data, err := os.ReadFile("../../docs/inventory.schema.json"); err != nil || string(data) != stdout {
		t.Errorf("docs/inventory.schema.json is out of date (%v): go run ./cmd/aoifleet inventory schema >docs/inventory.schema.json", err)
	}
}

// An editor shows what the documents say about a key.
func TestSchemaDescribesKeys(t *testing.T) {
	type part struct {
		Description string
		Properties  map[string]part
	}
	var schema struct {
		Properties, Definitions map[string]part
	}
	if err := json.Unmarshal([]byte(schemaText()), &schema); err != nil {
		t.Fatal(err)
	}
	keys := 0
	var walk func(name string, parts map[string]part)
	walk = func(name string, parts map[string]part) {
		for key, p := range parts {
			keys++
			if p.Description == "" && p.Properties == nil || strings.Contains(p.Description, "](") {
				t.Errorf("%s%s: %q", name, key, p.Description)
			}
			walk(key+".", p.Properties)
		}
	}
	for _, level := range []string{"defaults", "group", "host"} {
		if len(schema.Definitions[level].Properties) < 10 {
			t.Errorf("%s has no settings", level)
		}
		delete(schema.Definitions, level)
	}
	delete(schema.Properties, "defaults") // a reference
	walk("", schema.Definitions)
	walk("", schema.Properties)
	if keys < 50 {
		t.Errorf("%d keys", keys)
	}
}
