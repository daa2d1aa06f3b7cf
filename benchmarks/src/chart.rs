//! Figures → SVG: for each figure of a workload the sides as bars, one below the other. Pure.

use std::fmt::Write;

use crate::{
    figure::{Figure, Side},
    report::Compared,
};

const WIDTH: usize = 720;
const LEFT: usize = 90;
const BAR: usize = 420;
const LINE: usize = 20;
const GAP: usize = 34;
/// Figures that say more about the machine than about the tools.
const LEFT_OUT: [Figure; 2] = [Figure::MongodCpuPerMillion, Figure::KafkaCpuPerMillion];

/// A whole document.
pub(crate) fn draw(about: &str, compared: &Compared) -> String {
    let mut body = String::new();
    let mut top = 48;
    for figure in compared.columns().into_iter().filter(|figure| !LEFT_OUT.contains(figure)) {
        let values = compared.medians.iter().filter_map(|(side, run)| Some((*side, run.get(figure)?)));
        let values: Vec<(Side, f64)> = values.filter(|(_, value)| value.is_finite()).collect();
        top = panel(&mut body, top, figure, &values);
    }
    let (name, about) = (escaped(compared.workload), escaped(about));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top}\" viewBox=\"0 0 {WIDTH} {top}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"26\" font-size=\"15\"><tspan font-weight=\"bold\">{name}</tspan>: {about}</text>\n\
         {body}</svg>\n"
    )
}

/// Draws one figure from `top` on; where the next begins.
fn panel(body: &mut String, top: usize, figure: Figure, values: &[(Side, f64)]) -> usize {
    let form = figure.form();
    let greatest = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    text(body, 12, top + 4, "#555555", &format!("{} ({})", form.title, form.unit));
    let mut y = top + 12;
    for (side, value) in values {
        let share = if greatest > 0.0 { value / greatest } else { 0.0 };
        let width = (share * BAR as f64).max(1.0);
        text(body, 12, y + 13, "#000000", side.name());
        line(
            body,
            &format!(
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.0}\" height=\"16\" fill=\"{}\"/>",
                colour(*side)
            ),
        );
        text(body, LEFT + width as usize + 8, y + 13, "#000000", &form.text(*value));
        y += LINE;
    }
    y + GAP - 12
}

fn text(body: &mut String, x: usize, y: usize, fill: &str, text: &str) {
    line(body, &format!("<text x=\"{x}\" y=\"{y}\" fill=\"{fill}\">{}</text>", escaped(text)));
}

fn line(body: &mut String, element: &str) {
    writeln!(body, "{element}").expect("a string takes all");
}

fn colour(side: Side) -> &'static str {
    match side {
        Side::Limit => "#c8c8c8",
        Side::Relay => "#a9b7c6",
        Side::Millrace => "#1f77b4",
        Side::Other => "#7fb2d9",
        Side::Official => "#e08a3c",
        Side::Debezium => "#8c6bb1",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        figure::{Round, Run},
        workload::Workload,
    };

    #[test]
    fn each_side_has_a_bar_in_proportion() {
        let run = |rate| Run::default().with(Figure::EventsPerSecond, rate);
        let round = Round::from([(Side::Millrace, run(50e3)), (Side::Official, run(25e3))]);
        let workload = Workload::named("source-inserts").expect("there is one");
        let svg = draw("a < b", &Compared::new(workload, vec![round]));
        assert!(svg.contains("width=\"420\" height=\"16\" fill=\"#1f77b4\""), "{svg}");
        assert!(svg.contains("width=\"210\" height=\"16\" fill=\"#e08a3c\""), "{svg}");
        assert!(svg.contains(">25000</text>") && svg.contains("a &lt; b"), "{svg}");
    }
}
