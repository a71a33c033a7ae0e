//! The answers to a device that pulls instead of holding a socket.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::device::{FrameError, RelayFrame};

/// The answer to `GET /v1/device/ceremonies`: the frames that a socket would have sent.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pulled {
    /// `offer` and `challenge` of every prompt that is this device's now; of the ceremonies that the
    /// request named in `shown`, `closed` or `error` for each that is no longer this device's; and
    /// notices. A named ceremony without a frame is still being processed.
    pub frames: Vec<RelayFrame>,
    /// Version of the frames: with `wait` and this value as `since`, the next answer comes when
    /// they change.
    pub state: String,
}

impl Pulled {
    /// Reads the answer as an app does: a frame that it does not know is left out.
    ///
    /// # Errors
    /// [`FrameError`] if it is not such an answer.
    pub fn decode(text: &str) -> Result<Self, FrameError> {
        #[derive(Deserialize)]
        struct Raw {
            frames: Vec<Box<RawValue>>,
            state: String,
        }
        let Raw { frames, state } = serde_json::from_str(text).map_err(|_| FrameError::Invalid)?;
        let frames = frames.iter().filter_map(|frame| RelayFrame::decode(frame.get()).ok());
        Ok(Self { frames: frames.collect(), state })
    }
}
