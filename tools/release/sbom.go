// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

// The parts of a document of SPDX 2.3 that are needed here (https://spdx.github.io/spdx-spec/v2.3/).
type (
	spdxDocument struct {
		Version       string         `json:"spdxVersion"`
		License       string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      spdxCreation   `json:"creationInfo"`
		Packages      []spdxPackage  `json:"packages"`
		Relationships []spdxRelation `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID        string         `json:"SPDXID"`
		Name      string         `json:"name"`
		Version   string         `json:"versionInfo"`
		Purpose   string         `json:"primaryPackagePurpose,omitempty"`
		FileName  string         `json:"packageFileName,omitempty"`
		Download  string         `json:"downloadLocation"`
		Analyzed  bool           `json:"filesAnalyzed"`
		Checksums []spdxChecksum `json:"checksums,omitempty"`
		Source    string         `json:"sourceInfo,omitempty"`
		Concluded string         `json:"licenseConcluded"`
		Declared  string         `json:"licenseDeclared"`
		Copyright string         `json:"copyrightText"`
		Refs      []spdxRef      `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxRef struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelation struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const (
	unknown    = "NOASSERTION"
	documentID = "SPDXRef-DOCUMENT"
	programID  = "SPDXRef-Program"
)

// module is a library in a program.
type module struct{ path, version, sum string }

// sbom says what a program was linked from, as the program itself has it.
func (b *build) sbom(name string, p platform) (text []byte, modules []module, err error) {
	file := b.binary(p, name)
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	binary, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range info.Deps {
		if d.Replace != nil {
			d = d.Replace
		}
		if d.Sum == "" {
			return nil, nil, fmt.Errorf("%s: go.sum has no hash of %s: a folder in its place is in no release", name, d.Path)
		}
		modules = append(modules, module{d.Path, d.Version, d.Sum})
	}
	title, sum := b.title(name, p), sumOf(binary)
	doc := spdxDocument{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: documentID, Name: title, Namespace: "https://spdx.org/spdxdocs/" + title + "-" + sum,
		Creation: spdxCreation{time.Unix(b.epoch, 0).UTC().Format(time.RFC3339), []string{"Tool: tickedge-release-" + b.version}},
		Packages: []spdxPackage{{
			ID: programID, Name: name, Version: b.version, Purpose: "APPLICATION", FileName: name, Download: unknown,
			Checksums: []spdxChecksum{{"SHA256", sum}},
			Source:    "built from commit " + b.commit + " by " + info.GoVersion + " for " + p.os + "/" + p.arch,
			Concluded: "Apache-2.0", Declared: "Apache-2.0", Copyright: unknown,
		}, {
			ID: "SPDXRef-stdlib", Name: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go"),
			Download:  "https://go.dev/dl/" + info.GoVersion + ".src.tar.gz",
			Concluded: unknown, Declared: "BSD-3-Clause", Copyright: unknown, Refs: purl("stdlib", strings.TrimPrefix(info.GoVersion, "go")),
		}},
		Relationships: []spdxRelation{{documentID, "DESCRIBES", programID}, {programID, "DEPENDS_ON", "SPDXRef-stdlib"}},
	}
	for _, m := range modules {
		id := "SPDXRef-" + notInID.ReplaceAllString(m.path+"-"+m.version, "-")
		doc.Packages = append(doc.Packages, spdxPackage{
			ID: id, Name: m.path, Version: m.version, Download: "https://proxy.golang.org/" + escape(m.path) + "/@v/" + escape(m.version) + ".zip",
			Source: "hash in go.sum: " + m.sum, Concluded: unknown, Declared: unknown, Copyright: unknown, Refs: purl(m.path, m.version),
		})
		doc.Relationships = append(doc.Relationships, spdxRelation{programID, "DEPENDS_ON", id})
	}
	text, err = json.MarshalIndent(doc, "", " ")
	return append(text, '\n'), modules, err
}

// notInID is what an id of SPDX may not have.
var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

func purl(path, version string) []spdxRef {
	return []spdxRef{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + strings.ToLower(path) + "@" + strings.ReplaceAll(version, "+", "%2B")}}
}

// escape is a path or a version as the module cache and proxies have it, on file systems that take upper and lower case for the same.
func escape(s string) string {
	var out strings.Builder
	for _, r := range s {
		if 'A' <= r && r <= 'Z' {
			out.WriteByte('!')
			r += 'a' - 'A'
		}
		out.WriteRune(r)
	}
	return out.String()
}
