/*
 * picture.c - a race as a picture (SVG, without script and without anything loaded): over time, the
 * requests per second of each server, the longest request (logarithmic, with the deadline), and the
 * escapes.
 */
#include "client/stress/tally.h"

#include <math.h>

enum { WIDTH = 960, LEFT = 70, RIGHT = 20, PANEL = 150, GAP = 46, TOP = 56 };

static const char *const colours[SUBJECT_MAX] = { "#1b6ca8", "#2a9d63", "#c8553d" };

static double x_of(const struct run *run, size_t column)
{
	double share = (double)run->tally->column_ns * (double)column / (double)MAX(run->ns, 1ull);

	return LEFT + (WIDTH - LEFT - RIGHT) * MIN(share, 1.0);
}

static double ops_rate(const struct column *c)
{
	return c->active_ns ? (double)c->ops * 1e9 / (double)c->active_ns : 0;
}

static double milliseconds(const struct column *c)
{
	return (double)c->longest_ns / 1e6;
}

static double escape_count(const struct column *c)
{
	return (double)c->escapes;
}

/* 1, 2 or 5 times a power of ten, not below `v`. */
static double round_up(double v)
{
	double power = pow(10, floor(log10(MAX(v, 1e-9))));

	for (int i = 0; i < 3; i++)
		if (power * (double[]){ 1, 2, 5 }[i] >= v)
			return power * (double[]){ 1, 2, 5 }[i];
	return 10 * power;
}

struct panel {
	const char *title;
	double (*value)(const struct column *c);
	bool logarithmic, bars;
	double low, high;
	double y;
};

static double y_of(const struct panel *p, double v)
{
	double share = p->logarithmic ? (log10(MAX(v, p->low)) - log10(p->low)) /
						(log10(p->high) - log10(p->low))
				      : v / p->high;

	return p->y + PANEL - PANEL * MIN(MAX(share, 0.0), 1.0);
}

static void axis(const struct panel *p, FILE *out)
{
	int lines = p->logarithmic ? (int)lround(log10(p->high / p->low)) : 4;

	fprintf(out, "<text x=\"%d\" y=\"%.0f\" font-weight=\"bold\">%s</text>\n", LEFT, p->y - 8,
		p->title);
	for (int i = 0; i <= lines; i++) {
		double v = p->logarithmic ? p->low * pow(10, i) : p->high * i / lines;
		double y = y_of(p, v);

		fprintf(out,
			"<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
			"<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n",
			LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, v);
	}
}

static void draw(const struct run *run, const struct panel *p, FILE *out)
{
	axis(p, out);
	for (size_t s = 0; s < run->n_subjects; s++) {
		for (size_t n = 0; n < COLUMNS; n++) {
			const struct column *c = &run->tally->columns[s][n];
			double y = y_of(p, p->value(c));

			if (!c->active_ns || (p->bars && p->value(c) == 0))
				continue;
			if (p->bars)
				fprintf(out,
					"<rect x=\"%.1f\" y=\"%.1f\" width=\"2\" height=\"%.1f\" "
					"fill=\"%s\"/>\n",
					x_of(run, n), y, p->y + PANEL - y, colours[s]);
			else
				fprintf(out,
					"<circle cx=\"%.1f\" cy=\"%.1f\" r=\"1.6\" fill=\"%s\"/>\n",
					x_of(run, n), y, colours[s]);
		}
	}
}

void run_draw(const struct run *run, FILE *out)
{
	struct panel panels[] = {
		{ "requests per second", ops_rate, .y = TOP + 24 },
		{ "longest request, milliseconds (deadline 50)", milliseconds, .logarithmic = true,
		  .low = 0.01, .high = 100, .y = TOP + 24 + PANEL + GAP },
		{ "escapes", escape_count, .bars = true, .y = TOP + 24 + 2 * (PANEL + GAP) },
	};
	const int height = TOP + 24 + 3 * (PANEL + GAP) + 10;
	double deadline;

	for (size_t i = 0; i < ARRAY_SIZE(panels); i++) {
		double most = 1;

		for (size_t s = 0; s < run->n_subjects; s++)
			for (size_t n = 0; n < COLUMNS; n++)
				most = MAX(most, panels[i].value(&run->tally->columns[s][n]));
		panels[i].high = panels[i].logarithmic
					 ? MAX(panels[i].high, pow(10, ceil(log10(most))))
					 : MAX(panels[i].high, round_up(most));
	}
	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		"font-family=\"sans-serif\" font-size=\"11\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
		"<text x=\"%d\" y=\"24\" font-size=\"15\">gofer stress rename: %.0f s, seed "
		"%llu</text>\n",
		WIDTH, height, LEFT, (double)run->ns / 1e9, (unsigned long long)run->seed);
	for (size_t s = 0; s < run->n_subjects; s++)
		fprintf(out,
			"<rect x=\"%zu\" y=\"36\" width=\"10\" height=\"10\" fill=\"%s\"/>"
			"<text x=\"%zu\" y=\"45\">%s: %llu requests, %llu escapes</text>\n",
			LEFT + s * 280, colours[s], LEFT + s * 280 + 16, run->subjects[s].label,
			(unsigned long long)tally_ops(&run->tally->subjects[s]),
			(unsigned long long)tally_escapes(&run->tally->subjects[s]));
	for (size_t i = 0; i < ARRAY_SIZE(panels); i++)
		draw(run, &panels[i], out);
	deadline = y_of(&panels[1], DEADLINE_MS);
	fprintf(out,
		"<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#999\" "
		"stroke-dasharray=\"4 3\"/>\n",
		LEFT, WIDTH - RIGHT, deadline, deadline);
	fprintf(out,
		"<text x=\"%d\" y=\"%d\">0 s</text><text x=\"%d\" y=\"%d\" "
		"text-anchor=\"end\">%.0f s</text>\n</svg>\n",
		LEFT, height - 28, WIDTH - RIGHT, height - 28, (double)run->ns / 1e9);
}
