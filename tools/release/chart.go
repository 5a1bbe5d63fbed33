package main

import (
	"fmt"
	"os"
	"path/filepath"

	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	repo "helm.sh/helm/v4/pkg/repo/v1"
)

// packageChart packages a chart, in the version of its Chart.yaml, and writes the index of the folder. It returns the path
// of the package.
func packageChart(dir, out string) (string, error) {
	chart, err := loader.LoadDir(dir)
	if err != nil {
		return "", fmt.Errorf("reading the chart: %w", err)
	}
	stamp(chart)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", fmt.Errorf("making a folder: %w", err)
	}
	path, err := chartutil.Save(chart, out)
	if err != nil {
		return "", fmt.Errorf("packaging the chart: %w", err)
	}
	index, err := repo.IndexDirectory(out, "")
	if err != nil {
		return "", fmt.Errorf("making the index: %w", err)
	}
	index.Generated = epoch()
	for _, versions := range index.Entries {
		for _, version := range versions {
			version.Created = epoch()
		}
	}
	index.SortEntries()
	if err := index.WriteFile(filepath.Join(out, "index.yaml"), 0o644); err != nil {
		return "", fmt.Errorf("writing the index: %w", err)
	}
	return path, nil
}

// stamp gives all files of a chart the same time.
func stamp(chart *chartv2.Chart) {
	chart.ModTime, chart.SchemaModTime = epoch(), epoch()
	for _, files := range [][]*common.File{chart.Raw, chart.Templates, chart.Files} {
		for _, file := range files {
			file.ModTime = epoch()
		}
	}
}
